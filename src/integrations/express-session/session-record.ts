import { Buffer } from 'node:buffer';
import type { SessionData } from 'express-session';

/** A session of express-session as metadata: its cookie, until when it counts, and the JSON of the rest in pieces. */

/** What metadata can hold, less the two entries that are no piece. */
const MAX_PIECES = 30;
const PIECE_BYTES = 512;
/** A piece ends where a character does, so it may lack that much. */
const MAX_UNUSED_BYTES = 3;
const COOKIE = 'cookie';
const UNTIL = 'until';
const PIECE_KEYS = Array.from({ length: MAX_PIECES }, (_, index) => String(index));

/** The most that the JSON of a session without its cookie may have. */
export const MAX_SESSION_BYTES = MAX_PIECES * (PIECE_BYTES - MAX_UNUSED_BYTES);

/** What a touch writes. */
export interface Lease {
  /** Unix milliseconds of this machine, as the cookie's `expires`. */
  readonly untilMs: number;
  readonly cookie: SessionData['cookie'];
}

export interface Metadata {
  readonly metadata: Readonly<Record<string, string>>;
  /** What an earlier, longer session may have left. */
  readonly removeMetadataKeys: readonly string[];
}

export function leaseMetadata({ untilMs, cookie }: Lease): Readonly<Record<string, string>> {
  return { [COOKIE]: toText(cookie), [UNTIL]: String(untilMs) };
}

/** Throws RangeError for a session that is too large. */
export function sessionMetadata(session: SessionData, untilMs: number): Metadata {
  const { cookie, ...data } = session;
  const bytes = Buffer.from(toText(data));
  if (bytes.length > MAX_SESSION_BYTES) {
    throw new RangeError(`a session may have ${String(MAX_SESSION_BYTES)} bytes of JSON beside its cookie`);
  }
  const pieces = cut(bytes);
  return {
    metadata: {
      ...leaseMetadata({ untilMs, cookie }),
      ...Object.fromEntries(pieces.map((piece, index) => [String(index), piece])),
    },
    removeMetadataKeys: PIECE_KEYS.slice(pieces.length),
  };
}

/** Undefined: what is there is no session of this store. */
export function untilOf(metadata: Readonly<Record<string, string>>): number | undefined {
  const until = metadata[UNTIL];
  return until === undefined ? undefined : Number(until);
}

/** Throws SyntaxError where somebody else has written there. */
export function readSession(metadata: Readonly<Record<string, string>>): SessionData {
  const json = PIECE_KEYS.map((key) => metadata[key] ?? '').join('');
  const data: unknown = JSON.parse(json);
  const cookie: unknown = JSON.parse(metadata[COOKIE] ?? 'null');
  const session = { ...(isObject(data) ? data : {}), ...(cookie === null ? {} : { cookie }) };
  if (!isSession(session)) throw new SyntaxError('no session');
  return session;
}

/** JSON without U+FFFD, which the service refuses. */
function toText(value: unknown): string {
  return JSON.stringify(value ?? null).replaceAll('\ufffd', '\\ufffd');
}

/** In pieces that are UTF-8 each by itself. */
function cut(bytes: Buffer): string[] {
  const pieces: string[] = [];
  for (let from = 0; from < bytes.length;) {
    let to = Math.min(from + PIECE_BYTES, bytes.length);
    while (isContinuation(bytes[to])) to--;
    pieces.push(bytes.toString('utf8', from, to));
    from = to;
  }
  return pieces;
}

function isContinuation(byte = 0): boolean {
  return (byte & 0xc0) === 0x80;
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

function isSession(value: object): value is SessionData {
  return !('cookie' in value) || isObject(value.cookie);
}
