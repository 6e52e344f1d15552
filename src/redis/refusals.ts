import { ErrorReply } from 'redis';

/**
 * Why a Redis that is there is of no use, in the words of what to mend. All of these last until somebody does, where other
 * outages end by themselves.
 */

const CODES: Readonly<Record<string, string>> = {
  WRONGPASS: 'Redis refuses the login: check the user and REDIS_PASSWORD or REDIS_PASSWORD_FILE',
  NOAUTH: 'Redis refuses the login: check the user and REDIS_PASSWORD or REDIS_PASSWORD_FILE',
  NOPERM: 'the user of Redis lacks a right: grant what docs/operations/redis-users.acl grants',
  CERT_HAS_EXPIRED: 'the certificate of Redis has expired',
  CERT_NOT_YET_VALID: 'the certificate of Redis is not valid yet',
  ERR_TLS_CERT_ALTNAME_INVALID: 'the certificate of Redis is for another name: check REDIS_TLS_SERVER_NAME',
  ENOENT: 'a file of REDIS_PASSWORD_FILE or REDIS_TLS_… is missing',
  EACCES: 'a file of REDIS_PASSWORD_FILE or REDIS_TLS_… may not be read',
};

const UNKNOWN_AUTHORITY = new Set([
  'CERT_SIGNATURE_FAILURE',
  'CERT_UNTRUSTED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
]);

/** What to mend, by the code of an error reply, of TLS or of the system; undefined: nothing, Redis is just away. */
export function whatToMend(code: string): string | undefined {
  if (UNKNOWN_AUTHORITY.has(code))
    return 'the certificate of Redis is of an unknown authority: check REDIS_TLS_CA_FILE';
  if (/^ERR_SSL_.*ALERT/.test(code)) return 'Redis refuses TLS: check REDIS_TLS_CERT_FILE, or what Redis asks for';
  if (/^ERR_(?:SSL|OSSL)_/.test(code))
    return 'TLS with Redis fails: is that a port of TLS, are the files of REDIS_TLS_… sound?';
  return CODES[code];
}

/** What a script is told whose user lacks a right: Redis 7.0, and later. */
const REFUSED_IN_SCRIPT = /^ERR The user executing the script can't |\bACL failure in script\b/;

/** Redis refuses a command of this user. */
export function isRefused(error: unknown): error is ErrorReply {
  return error instanceof ErrorReply && (/^(?:NOPERM|NOAUTH)\b/.test(error.message) || isRefusedInScript(error));
}

/** The same in a script, of which a part may have been done. */
export function isRefusedInScript(error: unknown): boolean {
  return error instanceof ErrorReply && REFUSED_IN_SCRIPT.test(error.message);
}
