import { FillRequest } from '../../gen/shardkeep/cache/v1/cache.js';
import { invalidArgument } from '../errors.js';
import { entryExpiryOf, type EntryExpiry, type EntryExpiryOptions } from './expiry.js';
import { listIn, textIn, wholeNumberIn } from '../arguments.js';

export interface EntryTermsOptions<Value> extends EntryExpiryOptions {
  readonly tags?: readonly string[] | ((value: Value) => readonly string[]);
  readonly jitterPercent?: number;
}

/** How long an entry lives and by which names it ends, as requests have it. */
export interface EntryTerms<Value> {
  readonly expiry: EntryExpiry | undefined;
  readonly jitterPercent: number;
  /** Throws what a function of the caller throws, and InvalidArgumentError where it answers anything but tags. */
  readonly tagsOf: (value: Value) => string[];
}

const MAX_TAGS = 32;
const MAX_TAG_BYTES = 128;
const JITTER = { min: 0, max: 90 };
const EPHEMERAL_PREFIX = 'temp:';
/** Half a surrogate pair would be sent as U+FFFD, which the service refuses as it refuses NUL. */
const REFUSED_IN_TEXT = /[\p{Cs}\0\uFFFD]/u;

/**
 * Throws InvalidArgumentError where the service would refuse an entry of this key: what is found out only when a value is there
 * to be stored has already cost a load, or follows a write to the source.
 */
export function entryTermsOf<Value>(key: string, options: EntryTermsOptions<Value>): EntryTerms<Value> {
  const { tags = [], jitterPercent = 0 } = options;
  const expiry = entryExpiryOf(options);
  if (expiry?.$case === 'noExpiry' && textIn(key, 'key').startsWith(EPHEMERAL_PREFIX))
    throw invalidArgument('a key that begins with temp: must expire', ['noExpiry']);
  const isKnown = typeof tags !== 'function';
  const known = isKnown ? checkedTags(tags) : [];
  return {
    expiry,
    jitterPercent: wholeNumberIn(jitterPercent, 'jitterPercent', JITTER),
    tagsOf: isKnown ? () => known : (value) => checkedTags(tags(value)),
  };
}

/** Stores a value under a lease. */
export function fillWith<Value>(
  lease: { readonly key: string; readonly leaseToken: Buffer },
  terms: EntryTerms<Value>,
  { value, bytes }: { readonly value: Value; readonly bytes: Buffer },
): FillRequest {
  const { key, leaseToken } = lease;
  const { jitterPercent } = terms;
  const request = FillRequest.fromPartial({ key, leaseToken, jitterPercent, tags: terms.tagsOf(value) });
  request.result = { $case: 'value', value: bytes };
  request.expiry = terms.expiry;
  return request;
}

function checkedTags(given: readonly string[]): string[] {
  const tags = listIn(given, 'tags');
  if (tags.length > MAX_TAGS) throw invalidArgument(`at most ${String(MAX_TAGS)} tags`, ['tags']);
  for (const [place, tag] of tags.entries()) {
    if (!isTag(tag))
      throw invalidArgument('a tag must be text of 1 to 128 bytes, without U+FFFD and NUL', [`tags[${String(place)}]`]);
    if (tags.indexOf(tag) !== place) throw invalidArgument('a tag is named twice', [`tags[${String(place)}]`]);
  }
  return tags;
}

function isTag(tag: unknown): boolean {
  if (typeof tag !== 'string' || tag === '') return false;
  return Buffer.byteLength(tag) <= MAX_TAG_BYTES && !REFUSED_IN_TEXT.test(tag);
}
