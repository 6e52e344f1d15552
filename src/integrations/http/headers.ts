import type { RateLimitDecision } from '../../client/index.js';
import type { RateLimitOptions } from './options.js';

/** Where headers of a response are set. */
export interface HeaderSink {
  get(name: string): string | undefined;
  set(name: string, value: string): void;
}

export type HeaderOptions = Pick<RateLimitOptions<never, never>, 'standardHeaders' | 'legacyHeaders'>;

/** The part of the limit that is left, of the limiter that the headers which tell of one only tell of. */
const told = new WeakMap<object, number>();

/**
 * Several limiters may tell of one response. Structured fields are lists, and each adds to them; headers that tell of one limit
 * tell of the one with the least room.
 */
export function tellHeaders(
  decision: RateLimitDecision,
  { standardHeaders = true, legacyHeaders = false }: HeaderOptions,
  sink: HeaderSink,
  response: object,
): void {
  const { headers } = decision;
  const retryAfter = headers['Retry-After'];
  if (retryAfter !== undefined) sink.set('Retry-After', retryAfter);
  if (standardHeaders === true || standardHeaders === 'draft-8') {
    append(sink, 'RateLimit-Policy', headers['RateLimit-Policy']);
    append(sink, 'RateLimit', headers.RateLimit);
  }
  // a limit that nobody looked at has nothing to tell
  if (headers.RateLimit === undefined) return;
  const room = decision.allowed ? decision.remaining / decision.limit : -1;
  if (room >= (told.get(response) ?? Infinity)) return;
  told.set(response, room);
  const single = {
    ...(legacyHeaders && legacyOf(headers)),
    ...(standardHeaders === 'draft-6' && draft6Of(headers)),
    ...(standardHeaders === 'draft-7' && draft7Of(headers)),
  };
  for (const [name, value] of Object.entries(single)) sink.set(name, value);
}

function append(sink: HeaderSink, name: string, item: string | undefined): void {
  if (item === undefined) return;
  const before = sink.get(name);
  sink.set(name, before === undefined ? item : `${before}, ${item}`);
}

type Told = RateLimitDecision['headers'];

function legacyOf(headers: Told): Record<string, string> {
  const names = ['X-RateLimit-Limit', 'X-RateLimit-Remaining', 'X-RateLimit-Reset'];
  return Object.fromEntries(names.map((name) => [name, headers[name] ?? '']));
}

function draft6Of(headers: Told): Record<string, string> {
  return {
    'RateLimit-Policy': olderPolicies(headers),
    'RateLimit-Limit': headers['X-RateLimit-Limit'] ?? '',
    'RateLimit-Remaining': headers['X-RateLimit-Remaining'] ?? '',
    'RateLimit-Reset': secondsLeft(headers),
  };
}

function draft7Of(headers: Told): Record<string, string> {
  const limit = headers['X-RateLimit-Limit'] ?? '';
  const remaining = headers['X-RateLimit-Remaining'] ?? '';
  return {
    'RateLimit-Policy': olderPolicies(headers),
    RateLimit: `limit=${limit}, remaining=${remaining}, reset=${secondsLeft(headers)}`,
  };
}

/** Until the older drafts had names: `"api";q=100;w=900` was `100;w=900`. */
function olderPolicies(headers: Told): string {
  return (headers['RateLimit-Policy'] ?? '').replaceAll(/"[^"]*";q=/g, '');
}

/** `"api";r=12;t=34`: the service told it by Redis's clock, which this machine's may differ from. */
function secondsLeft(headers: Told): string {
  return /;t=(\d+)/.exec(headers.RateLimit ?? '')?.[1] ?? '0';
}
