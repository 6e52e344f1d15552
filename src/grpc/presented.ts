import type { PeerCertificate } from 'node:tls';
import type { Metadata } from '@grpc/grpc-js';

/** What a call of grpc-js tells of who makes it. */
export interface PresentingCall {
  readonly metadata: Metadata;
  getAuthContext(): { readonly sslPeerCertificate?: PeerCertificate };
}

/** Longer ones are no tokens of anybody. */
const MAX_TOKEN_LENGTH = 4_096;
const BEARER = /^bearer ([\x21-\x7e]+)$/i;

/** The token of an `authorization` header; undefined where it is none. */
export function bearerToken(header: string): string | undefined {
  return header.length > MAX_TOKEN_LENGTH ? undefined : BEARER.exec(header)?.[1];
}

/**
 * The names of a certificate that was verified, as the credentials file has them, in the order in which they are looked up:
 * URIs, DNS names, the common name.
 */
export function certificateNames({ subject, subjectaltname = '' }: PeerCertificate): readonly string[] {
  const names = alternativeNames(subjectaltname);
  const named = (kind: string, type: string): string[] =>
    names.filter((name) => name.type === type).map(({ value }) => `${kind}:${value}`);
  // a certificate that has several is told as an array, which the types do not know
  const commonNames: readonly unknown[] = [(subject as { readonly CN?: unknown } | null)?.CN].flat();
  return [
    ...named('uri', 'URI'),
    ...named('dns', 'DNS'),
    ...commonNames.filter((name) => typeof name === 'string').map((name) => `cn:${name}`),
  ];
}

interface AlternativeName {
  readonly type: string;
  readonly value: string;
}

/** Node quotes a value in which a comma could pass for the end of it. */
const ALTERNATIVE_NAME = /([A-Za-z ]+):("(?:[^"\\]|\\.)*"|[^,]*)(?:, |$)/y;

/** `URI:spiffe://game/shard, DNS:shard.game`; none where it is not of this form from beginning to end. */
function alternativeNames(text: string): readonly AlternativeName[] {
  const names: AlternativeName[] = [];
  ALTERNATIVE_NAME.lastIndex = 0;
  while (ALTERNATIVE_NAME.lastIndex < text.length) {
    const [, type = '', value = ''] = ALTERNATIVE_NAME.exec(text) ?? [];
    if (type === '') return [];
    const unquoted = value.startsWith('"') ? unquote(value) : value;
    if (unquoted === undefined) return [];
    names.push({ type, value: unquoted });
  }
  return names;
}

function unquote(text: string): string | undefined {
  try {
    return String(JSON.parse(text));
  } catch {
    return undefined;
  }
}
