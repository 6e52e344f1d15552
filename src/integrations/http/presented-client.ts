import { isIP } from 'node:net';
import type { SessionClient } from '../../client/index.js';

/** What the service takes, in characters that may have four bytes. */
const MAX_BYTES = 512;
const MAX_WIDE_CHARS = MAX_BYTES / 4;

/** Who makes a request. Headers are anybody's: what cannot be compared must not keep a player out. */
export function presentedClient(
  ip: string | undefined,
  userAgent: string | undefined,
  deviceId: string | undefined,
): SessionClient {
  return { ip: ip !== undefined && isIP(ip) !== 0 ? ip : undefined, userAgent: bounded(userAgent), deviceId };
}

function bounded(text: string | undefined): string | undefined {
  if (text === undefined || Buffer.byteLength(text) <= MAX_BYTES) return text;
  const cut = text.slice(0, MAX_BYTES);
  return Buffer.byteLength(cut) <= MAX_BYTES ? cut : text.slice(0, MAX_WIDE_CHARS);
}
