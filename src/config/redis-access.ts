import { readFileSync } from 'node:fs';
import { passwordIn, type RedisAccess } from '../redis/client-options.js';
import { secureContextOf, type TlsFiles } from '../redis/tls-files.js';
import type { EnvironmentSettings } from './environment.js';

/** REDIS_USERNAME, REDIS_PASSWORD or REDIS_PASSWORD_FILE, and REDIS_TLS_… hold for every URL that names none. */
export function withAccess<Target extends RedisAccess>(target: Target, settings: EnvironmentSettings): Target {
  const { REDIS_USERNAME, REDIS_PASSWORD, REDIS_PASSWORD_FILE } = settings;
  const tlsFiles = tlsFilesOf(settings);
  return {
    ...target,
    ...(target.username === undefined && REDIS_USERNAME !== undefined ? { username: REDIS_USERNAME } : {}),
    ...(target.password === undefined && REDIS_PASSWORD !== undefined ? { password: REDIS_PASSWORD } : {}),
    ...(target.password === undefined && REDIS_PASSWORD_FILE !== undefined
      ? { passwordFile: REDIS_PASSWORD_FILE }
      : {}),
    ...(target.tls && tlsFiles !== undefined ? { tlsFiles } : {}),
  };
}

/** Whether whoever connects has to prove who it is. */
export function logsIn({ password, passwordFile }: RedisAccess): boolean {
  return password !== undefined || passwordFile !== undefined;
}

function tlsFilesOf(settings: EnvironmentSettings): TlsFiles | undefined {
  const { REDIS_TLS_CA_FILE, REDIS_TLS_CERT_FILE, REDIS_TLS_KEY_FILE, REDIS_TLS_SERVER_NAME } = settings;
  const files = {
    ...(REDIS_TLS_CA_FILE === undefined ? {} : { caFile: REDIS_TLS_CA_FILE }),
    ...(REDIS_TLS_CERT_FILE === undefined ? {} : { certFile: REDIS_TLS_CERT_FILE }),
    ...(REDIS_TLS_KEY_FILE === undefined ? {} : { keyFile: REDIS_TLS_KEY_FILE }),
    ...(REDIS_TLS_SERVER_NAME === undefined ? {} : { serverName: REDIS_TLS_SERVER_NAME }),
  };
  return Object.keys(files).length === 0 ? undefined : files;
}

/**
 * Tells in `problems` what is wrong with these settings for the Redis at `targets`: a login or a certificate that is set and
 * would not be used is taken for a mistake.
 */
export function checkAccess(settings: EnvironmentSettings, targets: readonly RedisAccess[], problems: string[]): void {
  const { REDIS_PASSWORD, REDIS_PASSWORD_FILE, REDIS_TLS_CERT_FILE, REDIS_TLS_KEY_FILE } = settings;
  if (REDIS_PASSWORD !== undefined && REDIS_PASSWORD_FILE !== undefined) {
    problems.push('REDIS_PASSWORD_FILE: set together with REDIS_PASSWORD; take one away');
  }
  if (REDIS_PASSWORD_FILE !== undefined) {
    check('REDIS_PASSWORD_FILE', problems, () => passwordIn(readFileSync(REDIS_PASSWORD_FILE, 'utf8'), 'the file'));
  }
  // without a password node-redis would log in as nobody, which is the default user
  if (targets.some((target) => target.username !== undefined && !logsIn(target))) {
    problems.push('REDIS_USERNAME: a user of Redis has no password; set REDIS_PASSWORD or REDIS_PASSWORD_FILE');
  }
  const files = tlsFilesOf(settings);
  if (files === undefined) return;
  if (!targets.some(({ tls }) => tls)) {
    problems.push('REDIS_TLS_CA_FILE: REDIS_TLS_… is set, but no URL of a Redis begins with rediss');
  }
  if ((REDIS_TLS_CERT_FILE === undefined) !== (REDIS_TLS_KEY_FILE === undefined)) {
    problems.push('REDIS_TLS_CERT_FILE: goes only together with REDIS_TLS_KEY_FILE');
    return;
  }
  check('REDIS_TLS_CA_FILE', problems, () => contextOf({ ...files, certFile: undefined, keyFile: undefined }));
  if (files.certFile !== undefined) {
    check('REDIS_TLS_CERT_FILE', problems, () => contextOf({ ...files, caFile: undefined }));
  }
}

function contextOf({ caFile, certFile, keyFile }: { readonly [File in keyof TlsFiles]?: string | undefined }): unknown {
  return secureContextOf({
    ...(caFile === undefined ? {} : { caFile }),
    ...(certFile === undefined ? {} : { certFile }),
    ...(keyFile === undefined ? {} : { keyFile }),
  }).context as unknown;
}

function check(name: string, problems: string[], use: () => unknown): void {
  try {
    use();
  } catch (error) {
    problems.push(`${name}: cannot be used: ${error instanceof Error ? error.message : String(error)}`);
  }
}
