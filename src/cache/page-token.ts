import { createHash } from 'node:crypto';

/**
 * The page token of GetSetMembers: the place that `get-set-members.lua` answered, and of which key. A token is data of
 * the caller when it comes back, so all of it is checked before it reaches a script.
 */

/** More than a place can grow to: a bucket holds a few members, each named by 40 digits. */
export const MAX_PAGE_TOKEN_BYTES = 16_384;

/** Digits of the key's hash; only so that a token of another set is found out. */
const KEY_DIGITS = 16;
const TOKEN = /^([0-9a-f]{16}):([0-9a-f]{40}:(\d{1,20}):(?:[0-9a-f]{40})?:(?:[0-9a-f]{40})*)$/;
const MAX_CURSOR = 2n ** 64n - 1n;

export function encodePageToken(key: string, place: string): string {
  return place === '' ? '' : Buffer.from(`${keyDigits(key)}:${place}`).toString('base64url');
}

/** The place, '' for the first page; undefined for what is no token of this key. */
export function decodePageToken(key: string, token: string): string | undefined {
  if (token === '') return '';
  const text = Buffer.from(token, 'base64url');
  const [, ofKey, place, cursor = ''] = TOKEN.exec(text.toString('latin1')) ?? [];
  // a decoder skips what is no base64url; only what we would have written is ours
  const isOurs = ofKey === keyDigits(key) && BigInt(cursor) <= MAX_CURSOR && text.toString('base64url') === token;
  return isOurs ? place : undefined;
}

function keyDigits(key: string): string {
  return createHash('sha256').update(key, 'utf8').digest('hex').slice(0, KEY_DIGITS);
}
