import {
  SetRequest,
  TouchRequest,
  type Entry as StoredEntry,
  type SetManyItem,
} from '../../gen/shardkeep/cache/v1/cache.js';
import { shardkeepError, toCode } from '../errors.js';
import type { Rpc } from '../rpc/rpc.js';
import { CALL_OPTIONS, type CallOptions } from '../transport/method.js';
import type { ValueFormat } from './codec/value-format.js';
import type { Degrading } from './degrading.js';
import { entryTermsOf } from './entry-terms.js';
import { ENTRY_EXPIRY_OPTIONS, expiryOf, type EntryExpiryOptions, type ExpiryOptions } from './expiry.js';
import { wordIn, listIn, optionsIn, wholeNumberIn, type OptionNames } from '../arguments.js';
import type { LockGrant } from '../locks/lock-state.js';

/** A value with what the cache knows of it. */
export interface CacheEntry<Value> {
  readonly value: Value;
  /** Milliseconds it still lives; Infinity where it does not expire. */
  readonly ttlMs: number;
  /** When it was written, Unix milliseconds of Redis's clock. */
  readonly createdAtMs: number;
  /** Grows with every write of the key. */
  readonly version: number;
  /** No longer fresh: see `staleMs`, and `invalidateTags` with `soft`. */
  readonly stale: boolean;
}

/** Lets a write count only while its caller holds a lock: the record refuses a lower fencing token than it has seen. */
export interface Guard {
  /** The locked resource. */
  readonly resource: string;
  /** Of the caller's grant, from 1. */
  readonly fencingToken: number;
}

export interface SetOptions extends EntryExpiryOptions {
  /** When to write: only where the key holds nothing, only where it holds an entry, or only over this version. */
  readonly condition?: 'absent' | 'present' | { readonly version: number };
  /** Names by which `invalidateTags` ends the entry: at most 32, of 1 to 128 bytes. */
  readonly tags?: readonly string[];
  /** Shortens the times at random by up to so many percent, 0 to 90. */
  readonly jitterPercent?: number;
  /** A lower fencing token than the record has seen fails with FailedPreconditionError (OLD_FENCING_TOKEN). */
  readonly guard?: Guard;
}

export interface SetEntry<Value = unknown> extends SetOptions {
  readonly key: string;
  readonly value: Value;
}

const ENTRY_OPTIONS: OptionNames<SetOptions> = {
  ...ENTRY_EXPIRY_OPTIONS,
  condition: true,
  tags: true,
  jitterPercent: true,
  guard: true,
};
export const SET_OPTIONS: OptionNames<SetOptions & CallOptions> = { ...ENTRY_OPTIONS, ...CALL_OPTIONS };
export const SET_ENTRY: OptionNames<SetEntry> = { ...ENTRY_OPTIONS, key: true, value: true };

export interface Stored {
  /** False: the condition was not met; or the cache was away, and that was logged. */
  readonly stored: boolean;
  /** Of the entry that the key holds now; 0 where it holds nothing, or nothing is known. */
  readonly version: number;
}

/** What one RPC takes. */
const MAX_KEYS = 256;
const LOST: Stored = { stored: false, version: 0 };

/** Where entries are read from: the service, or a near cache in front of it. */
export interface EntrySource {
  get(key: string, options: CallOptions): Promise<StoredEntry | undefined>;
  getMany(keys: readonly string[], options: CallOptions): Promise<readonly (StoredEntry | undefined)[]>;
}

/** Entries of the service itself. */
export class ServiceSource implements EntrySource {
  constructor(private readonly rpc: Rpc['cache']) {}

  async get(key: string, options: CallOptions): Promise<StoredEntry | undefined> {
    return (await this.rpc.get({ key }, options)).entry;
  }

  async getMany(keys: readonly string[], options: CallOptions): Promise<readonly (StoredEntry | undefined)[]> {
    const pages = pagesOf(keys, 'keys').map((page) => this.rpc.getMany({ keys: page }, options));
    return (await Promise.all(pages)).flatMap(({ items }) => items.map(({ entry }) => entry));
  }
}

/** Entries by key, as values. */
export class Entries {
  constructor(
    private readonly rpc: Rpc['cache'],
    private readonly source: EntrySource,
    private readonly format: ValueFormat,
    private readonly degrading: Degrading,
  ) {}

  async get(key: string, options: CallOptions): Promise<CacheEntry<unknown> | undefined> {
    const entry = await this.degrading.read('a value could not be read', undefined, options, () =>
      this.source.get(key, options),
    );
    return this.read(entry);
  }

  async getMany(keys: readonly string[], options: CallOptions): Promise<(CacheEntry<unknown> | undefined)[]> {
    if (listIn(keys, 'keys').length === 0) return [];
    const misses = keys.map(() => undefined);
    const entries = await this.degrading.read('values could not be read', misses, options, () =>
      this.source.getMany(keys, options),
    );
    return entries.map((entry) => this.read(entry));
  }

  async set(key: string, value: unknown, options: SetOptions & CallOptions): Promise<Stored> {
    const request = this.setRequest({ ...options, key, value });
    const set = async (): Promise<Stored> => {
      const { stored, version } = await this.rpc.set(request, options);
      return { stored, version: Number(version) };
    };
    // whoever sets a condition, or holds a lock, has to know
    if (isConditional(options)) return this.degrading.ask(set, options);
    return this.degrading.write('a value is lost', LOST, options, set);
  }

  async setMany(entries: readonly SetEntry[], options: CallOptions): Promise<Stored[]> {
    const stored = pagesOf(entries, 'entries').map((page) => {
      const requests = page.map((entry) => this.setRequest(entry));
      const mayBeLost = !page.some(isConditional);
      const setMany = async (): Promise<Stored[]> => {
        const { items } = await this.rpc.setMany({ entries: requests }, options);
        return Promise.all(items.map((item) => this.storedOf(item, mayBeLost)));
      };
      const lost = page.map(() => LOST);
      if (!mayBeLost) return this.degrading.ask(setMany, options);
      return this.degrading.write('values are lost', lost, options, setMany);
    });
    return (await Promise.all(stored)).flat();
  }

  async exists(keys: readonly string[], options: CallOptions): Promise<boolean[]> {
    const exist = pagesOf(keys, 'keys').map((page) =>
      this.degrading.read(
        'keys could not be looked for',
        page.map(() => false),
        options,
        async () => {
          return (await this.rpc.exists({ keys: page }, options)).exists;
        },
      ),
    );
    return (await Promise.all(exist)).flat();
  }

  async touch(keys: readonly string[], options: ExpiryOptions & CallOptions): Promise<boolean[]> {
    const expiry = expiryOf(options);
    const touched = pagesOf(keys, 'keys').map((page) => {
      const request = TouchRequest.fromPartial({ keys: page });
      request.expiry = expiry;
      const lost = page.map(() => false);
      return this.degrading.write('a new expiry is lost', lost, options, async () => {
        return (await this.rpc.touch(request, options)).touched;
      });
    });
    return (await Promise.all(touched)).flat();
  }

  async getTtl(key: string, options: CallOptions): Promise<number | undefined> {
    return this.degrading.read('an expiry could not be read', undefined, options, async () => {
      const { items } = await this.rpc.getTtl({ keys: [key] }, options);
      const [item] = items;
      if (item?.exists !== true) return undefined;
      return item.ttlMs === undefined ? Infinity : Number(item.ttlMs);
    });
  }

  private read(entry: StoredEntry | undefined): CacheEntry<unknown> | undefined {
    if (entry === undefined) return undefined;
    const decoded = this.format.decode(entry.value);
    if (!decoded.isKnown) {
      this.degrading.say('warn', 'an entry cannot be read', new TypeError(decoded.why));
      return undefined;
    }
    return {
      value: decoded.value,
      ttlMs: entry.ttlMs === undefined ? Infinity : Number(entry.ttlMs),
      createdAtMs: Number(entry.createdAtMs),
      version: Number(entry.version),
      stale: entry.stale,
    };
  }

  private setRequest(entry: SetEntry): SetRequest {
    const { key, value, condition, guard } = entry;
    const { expiry, jitterPercent, tagsOf } = entryTermsOf<unknown>(key, entry);
    const request = SetRequest.fromPartial({ key, tags: tagsOf(value), jitterPercent, guard: guardOf(guard) });
    request.value = this.format.encode(value);
    request.expiry = expiry;
    request.condition = conditionOf(condition);
    return request;
  }

  /** One entry of several that failed by itself fails as it would have alone. */
  private storedOf({ stored, version, code, reason, key }: SetManyItem, mayBeLost: boolean): Promise<Stored> {
    if (code === 0) return Promise.resolve({ stored, version: Number(version) });
    const failure = shardkeepError(toCode(code), `the write of ${key} failed`, { reason });
    if (!mayBeLost) return Promise.reject(failure);
    return this.degrading.write('a value is lost', LOST, {}, () => Promise.reject(failure));
  }
}

function isConditional({ condition, guard }: SetOptions): boolean {
  return condition !== undefined || guard !== undefined;
}

/** A grant of a lock is one. */
const GUARD: OptionNames<Guard & LockGrant> = { resource: true, fencingToken: true, holdCount: true };
/** An entry, or what a write came to, is one. */
const VERSION: OptionNames<CacheEntry<unknown> & Stored> = {
  version: true,
  ...{ value: true, ttlMs: true, createdAtMs: true, stale: true },
  stored: true,
};

/** Versions and fencing tokens, as far as they are numbers here. */
const FROM_1 = { min: 1, max: Number.MAX_SAFE_INTEGER };

export function guardOf(guard: Guard | undefined): { resource: string; fencingToken: bigint } | undefined {
  if (guard === undefined) return undefined;
  const { resource, fencingToken } = optionsIn<Guard>(guard, GUARD, 'guard');
  return { resource, fencingToken: BigInt(wholeNumberIn(fencingToken, 'guard.fencingToken', FROM_1)) };
}

const CONDITIONS = {
  absent: { $case: 'ifAbsent', value: true },
  present: { $case: 'ifPresent', value: true },
} as const;

function conditionOf(condition: SetOptions['condition']): SetRequest['condition'] {
  if (condition === undefined) return undefined;
  if (typeof condition !== 'object') return wordIn(CONDITIONS, condition, 'condition');
  const { version } = optionsIn<{ readonly version: number }>(condition, VERSION, 'condition');
  return { $case: 'ifVersion', value: BigInt(wholeNumberIn(version, 'condition.version', FROM_1)) };
}

/** In as many calls as it takes; none for none. */
export function pagesOf<Item>(items: readonly Item[], field: string): Item[][] {
  const all = listIn(items, field);
  const pages: Item[][] = [];
  for (let from = 0; from < all.length; from += MAX_KEYS) pages.push(all.slice(from, from + MAX_KEYS));
  return pages;
}
