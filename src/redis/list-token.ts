import { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import { SCAN_BEGIN, type ScanPlace } from './paged-scan.js';

/**
 * The page token of the lists that go through the keys of Redis. A token is data of the caller when it comes back, so all
 * of it is checked before it reaches Redis.
 */

/** Which list a token is of: another one takes it for none of its own. */
export interface ListScope {
  readonly of: 'locks' | 'bans';
  readonly namespace: string;
  readonly prefix: string;
}

/** Where a list goes on. */
export interface ListPlace {
  readonly scan: ScanPlace;
  /** Of what is found there, what was listed already; a page can end within a step of the scan. */
  readonly listed: readonly string[];
}

export const LIST_BEGIN: ListPlace = { scan: SCAN_BEGIN, listed: [] };

/** A step of the scan finds some hundreds, rarely some thousands. */
export const MAX_PAGE_TOKEN_BYTES = 65_536;

const DIGITS = 16;
const HEX = `[0-9a-f]{${String(DIGITS)}}`;
const TOKEN = new RegExp(`^(${HEX}):((?:${HEX})*):((?:${HEX})?):(\\d{1,20}):((?:${HEX})*)$`);
const MAX_CURSOR = 2n ** 64n - 1n;

/** A name among those that were listed. */
export function listedMark(name: string): string {
  return digitsOf(name);
}

export function encodeListToken(scope: ListScope, place: ListPlace | undefined): Buffer {
  if (place === undefined) return Buffer.alloc(0);
  const { done, run, cursor } = place.scan;
  const parts = [scopeDigits(scope), done.join(''), run, cursor, place.listed.join('')];
  return Buffer.from(parts.join(':'), 'latin1');
}

/** Undefined for what is no token of this list. */
export function decodeListToken(scope: ListScope, token: Uint8Array): ListPlace | undefined {
  if (token.length === 0) return LIST_BEGIN;
  const match = TOKEN.exec(Buffer.from(token).toString('latin1'));
  if (match === null) return undefined;
  const [, ofScope, done = '', run = '', cursor = '', listed = ''] = match;
  if (ofScope !== scopeDigits(scope) || BigInt(cursor) > MAX_CURSOR) return undefined;
  return { scan: { done: inDigits(done), run, cursor }, listed: inDigits(listed) };
}

function scopeDigits({ of, namespace, prefix }: ListScope): string {
  // neither of the first two has a colon
  return digitsOf(`${of}:${namespace}:${prefix}`);
}

function digitsOf(text: string): string {
  return createHash('sha256').update(text, 'utf8').digest('hex').slice(0, DIGITS);
}

function inDigits(joined: string): string[] {
  return Array.from({ length: joined.length / DIGITS }, (_, index) =>
    joined.slice(index * DIGITS, (index + 1) * DIGITS),
  );
}
