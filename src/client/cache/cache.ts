import { DeletePatternRequest, InvalidationMode } from '../../gen/shardkeep/cache/v1/cache.js';
import type { Rpc } from '../rpc/rpc.js';
import { CALL_OPTIONS, type CallOptions } from '../transport/method.js';
import type { CallerMemory } from './caller-memory.js';
import { CacheAside, type WarmOutcome } from './cache-aside.js';
import { VALUE_OPTIONS, ValueFormat, type ValueOptions } from './codec/value-format.js';
import {
  Collections,
  type AddedToSet,
  type AddToSetOptions,
  type GetListOptions,
  type PushToListOptions,
} from './collections.js';
import { exactNumber, increment, wholeDelta, type Incremented, type IncrementOptions } from './counters.js';
import type { Degrading, DegradingOptions } from './degrading.js';
import {
  Entries,
  SET_ENTRY,
  SET_OPTIONS,
  type CacheEntry,
  type EntrySource,
  type SetEntry,
  type SetOptions,
  type Stored,
} from './entries.js';
import { TOUCH_OPTIONS, type TouchOptions } from './expiry.js';
import {
  DELETE_OPTIONS,
  DELETE_PATTERN_OPTIONS,
  INVALIDATE_OPTIONS,
  type DeletedPattern,
  type DeleteOptions,
  type DeletePatternOptions,
  type InvalidateOptions,
} from './invalidation.js';
import {
  CACHE_ASIDE_OPTIONS,
  loadTermsOf,
  TAGGED_CACHE_OPTIONS,
  type CacheAsideOptions,
  type TaggedCacheOptions,
} from './load-terms.js';
import type { Loader } from './loader.js';
import { functionIn, listIn, optionsIn } from '../arguments.js';
import type { NearCacheOptions, NearCacheStats } from './near/near-cache.js';
import { cacheStatsOf, type CacheStats, type CacheStatsOptions } from './stats.js';
import { WARM_MANY_OPTIONS, warmMany, type WarmEntry, type WarmManyOptions, type WarmResult } from './warming.js';
import { WRITE_THROUGH_OPTIONS, WriteThrough, type Writer, type WriteThroughOptions } from './write-through.js';

let views = 0;

export interface CacheOptions extends ValueOptions, DegradingOptions {
  /**
   * Keeps what is read often in the memory of this process, kept true by Watch; off by default. `get`, `getEntry`, `getMany` and
   * `cacheAside` are answered from it.
   */
  readonly nearCache?: NearCacheOptions | boolean;
}

/** What caches of one client share, however they write their values. */
export interface CacheParts {
  readonly rpc: Rpc['cache'];
  readonly source: EntrySource;
  readonly degrading: Degrading;
  readonly memory: CallerMemory;
  readonly defaultTimeoutMs: number;
  readonly closing: AbortSignal;
}

/**
 * Values by key. A value is what the codec can say, JSON unless you choose another; what comes back has the type that you name,
 * unchecked. Keys are 1 to 512 bytes. While the service, or its Redis, is away, reads miss and writes are logged
 * (`onReadError`, `onWriteError`); what cannot be made up (a count, a write with a condition or a guard) fails with
 * UnavailableError, and after `close` everything does.
 */
export class Cache {
  private readonly format: ValueFormat;
  private readonly entries: Entries;
  private readonly collections: Collections;
  private readonly aside: CacheAside;
  private readonly through: WriteThrough;
  private readonly viewNumber = ++views;

  constructor(
    private readonly parts: CacheParts,
    private readonly options: ValueOptions,
  ) {
    const { rpc, source, degrading } = parts;
    this.format = new ValueFormat(options);
    this.entries = new Entries(rpc, source, this.format, degrading);
    this.collections = new Collections(rpc, this.format, degrading);
    this.aside = new CacheAside({ ...parts, format: this.format, view: this.view('load') });
    this.through = new WriteThrough({ ...parts, format: this.format, entries: this.entries });
  }

  /** The same cache with another codec, schema version or compression. */
  with(options: ValueOptions): Cache {
    return new Cache(this.parts, { ...this.options, ...optionsIn(options, VALUE_OPTIONS) });
  }

  /** Undefined: a miss. Safe to retry. */
  async get<Value>(key: string, options: CallOptions = {}): Promise<Value | undefined> {
    return (await this.getEntry<Value>(key, options))?.value;
  }

  /** A value with its version and what is left of its life. */
  async getEntry<Value>(key: string, options: CallOptions = {}): Promise<CacheEntry<Value> | undefined> {
    const { memory } = this.parts;
    optionsIn(options, CALL_OPTIONS);
    const entry = await memory.memo.get(this.view('entry'), key, options.signal, (signal) =>
      memory.deletions.settled([key], () =>
        this.entries.get(key, signal === undefined ? withoutSignal(options) : options),
      ),
    );
    return entry as CacheEntry<Value> | undefined;
  }

  /** A value or undefined for each key, in the order asked. Each is read at its own moment. */
  async getMany<Value>(keys: readonly string[], options: CallOptions = {}): Promise<(Value | undefined)[]> {
    const entries = await this.entries.getMany(keys, optionsIn(options, CALL_OPTIONS));
    return entries.map((entry) => entry?.value as Value | undefined);
  }

  /** Without `ttlMs` or `noExpiry` the service's default for its environment holds. A retry writes again. */
  async set(key: string, value: unknown, options: SetOptions & CallOptions = {}): Promise<Stored> {
    optionsIn(options, SET_OPTIONS);
    return this.parts.memory.writing([key], () => this.entries.set(key, value, options));
  }

  /** Each entry is written by itself, with its own expiry; the answers are in the order of the entries. */
  async setMany(entries: readonly SetEntry[], options: CallOptions = {}): Promise<Stored[]> {
    optionsIn(options, CALL_OPTIONS);
    const all = listIn(entries, 'entries').map((entry, at) => optionsIn(entry, SET_ENTRY, `entries[${String(at)}]`));
    const keys = all.map(({ key }) => key);
    return this.parts.memory.writing(keys, () => this.entries.setMany(all, options));
  }

  /** Whether there was something, of any kind. A load that runs can no longer fill the key. Safe to retry. */
  async delete(key: string, options: DeleteOptions = {}): Promise<boolean> {
    const [deleted = false] = await this.deleteAll([key], optionsIn(options, DELETE_OPTIONS));
    return deleted;
  }

  /** As `delete`, for each key. */
  async deleteMany(keys: readonly string[], options: CallOptions = {}): Promise<boolean[]> {
    return this.deleteAll(listIn(keys, 'keys'), optionsIn(options, CALL_OPTIONS));
  }

  async exists(key: string, options: CallOptions = {}): Promise<boolean> {
    const [exists = false] = await this.entries.exists([key], optionsIn(options, CALL_OPTIONS));
    return exists;
  }

  /** Gives what the key holds a new life from now; false where it holds nothing. Safe to retry. */
  async touch(key: string, options: TouchOptions = {}): Promise<boolean> {
    optionsIn(options, TOUCH_OPTIONS);
    const [touched = false] = await this.parts.memory.writing([key], () => this.entries.touch([key], options));
    return touched;
  }

  /** Milliseconds left; Infinity without expiry, undefined where the key holds nothing. */
  async getTtl(key: string, options: CallOptions = {}): Promise<number | undefined> {
    return this.entries.getTtl(key, optionsIn(options, CALL_OPTIONS));
  }

  /**
   * Adds to a counter and answers its value; a counter that is not there begins at 0. With a bigint as the delta the whole
   * signed 64-bit range, with a number up to 2^53. Sent again it counts once. Fails while the service is away.
   */
  async increment(key: string, delta?: number, options?: IncrementOptions): Promise<number>;
  async increment(key: string, delta: bigint, options?: IncrementOptions): Promise<bigint>;
  async increment(key: string, delta: number | bigint = 1, options: IncrementOptions = {}): Promise<number | bigint> {
    const { value } = await this.incrementWithin(key, delta, options);
    return typeof delta === 'bigint' ? value : exactNumber(value);
  }

  /** As `increment`, and tells whether `floor` and `ceiling` allowed it. */
  async incrementWithin(key: string, delta: number | bigint, options: IncrementOptions = {}): Promise<Incremented> {
    const { rpc, degrading } = this.parts;
    return this.parts.memory.writing([key], () => increment(rpc, degrading, key, wholeDelta(delta), options));
  }

  addToSet(key: string, members: readonly unknown[], options: AddToSetOptions = {}): Promise<AddedToSet> {
    return this.parts.memory.writing([key], () => this.collections.addToSet(key, members, options));
  }

  /** How many of them were in the set. */
  removeFromSet(key: string, members: readonly unknown[], options: CallOptions = {}): Promise<number> {
    return this.collections.removeFromSet(key, members, options);
  }

  /** All members, each once, in no order; read in pages, so what is added or removed meanwhile may be there or not. */
  async getSetMembers<Value>(key: string, options: CallOptions = {}): Promise<Value[]> {
    return (await this.collections.getSetMembers(key, options)) as Value[];
  }

  /** How many items the list has now. A retry pushes again. */
  pushToList(key: string, items: readonly unknown[], options: PushToListOptions = {}): Promise<number> {
    return this.parts.memory.writing([key], () => this.collections.pushToList(key, items, options));
  }

  async getList<Value>(key: string, options: GetListOptions = {}): Promise<Value[]> {
    return (await this.collections.getList(key, options)) as Value[];
  }

  /**
   * The value, or what the loader brings; one caller of the whole fleet loads, the others wait for it. A loader that fails
   * lets its callers fail, or gives them the stale value where there is one (`staleMs`). Undefined: the source has nothing.
   * While the cache is away the loader runs, once at a time for each key and process. Fails with LoadFailedError where the load
   * of somebody else failed less than `failureBackoffMs` ago. Callers of one process get the same object.
   */
  async cacheAside<Value>(
    key: string,
    loader: Loader<Value>,
    options: CacheAsideOptions<Value> = {},
  ): Promise<Value | undefined> {
    const terms = loadTermsOf(key, loader, optionsIn(options, CACHE_ASIDE_OPTIONS));
    const { memo } = this.parts.memory;
    const kind = this.view('value');
    return memo.get(kind, key, options.signal, async (signal) => {
      const value = await this.aside.get(terms, signal);
      // what the request read before, such as that there is nothing, may be older
      memo.forgetOthers(kind, key);
      return value;
    });
  }

  /** As `cacheAside`, with tags. */
  async taggedCache<Value>(
    key: string,
    tags: readonly string[],
    loader: Loader<Value>,
    options: TaggedCacheOptions<Value> = {},
  ): Promise<Value | undefined> {
    return this.cacheAside(key, loader, { ...optionsIn(options, TAGGED_CACHE_OPTIONS), tags });
  }

  /**
   * Writes to the source, then to the cache, which never keeps a value that is older than the source's, however many write and
   * load at once: where another writer or a loader came in between, or anything fails, the key is deleted (`stored` false) and the
   * next reader loads. That needs a writer that has written when it resolves, and writes no more when it has rejected.
   */
  async writeThrough<Value>(
    key: string,
    value: Value,
    writer: Writer<Value>,
    options: WriteThroughOptions = {},
  ): Promise<Stored> {
    return this.through.write(key, value, writer, optionsIn(options, WRITE_THROUGH_OPTIONS));
  }

  /** Loads and stores a value however new the one there is; skipped where somebody else of the fleet does so. */
  async warm<Value>(key: string, loader: Loader<Value>, options: CacheAsideOptions<Value> = {}): Promise<WarmOutcome> {
    const terms = loadTermsOf(key, loader, optionsIn(options, CACHE_ASIDE_OPTIONS));
    return this.parts.memory.writing([key], () => this.aside.warm(terms));
  }

  /** Warms many keys, a few at a time; one that fails stops nobody, nor does `onProgress`. */
  async warmMany(entries: readonly WarmEntry[], options: WarmManyOptions = {}): Promise<WarmResult> {
    const { closing, degrading } = this.parts;
    return warmMany(entries, ({ key, loader, ...rest }) => this.warm(key, loader, rest), {
      ...optionsIn(options, WARM_MANY_OPTIONS),
      closing,
      onProgressError: (error) => {
        degrading.say('error', 'onProgress of warmMany failed', error);
      },
    });
  }

  /** Ends all entries that carry the tag, in a time that does not depend on how many they are. Safe to retry. */
  async invalidateByTag(tag: string, options: InvalidateOptions = {}): Promise<void> {
    return this.invalidateTags([tag], options);
  }

  /** As `invalidateByTag`, for 1 to 256 tags at one moment. */
  async invalidateTags(tags: readonly string[], options: InvalidateOptions = {}): Promise<void> {
    const { soft = false, ...call } = optionsIn(options, INVALIDATE_OPTIONS);
    const mode = soft ? InvalidationMode.SOFT : InvalidationMode.HARD;
    const all = listIn(tags, 'tags');
    const { memory } = this.parts;
    await memory.invalidating(all, () => memory.deletions.invalidateTags(all, mode, call));
  }

  /**
   * Deletes every key that matches a glob, in small steps beside other work; not at one moment. Fails with
   * FailedPreconditionError (BROAD_PATTERN) for a pattern that begins with a wildcard, unless `allowAll`. Safe to retry.
   */
  async deletePattern(pattern: string, options: DeletePatternOptions = {}): Promise<DeletedPattern> {
    const { allowAll = false, dryRun = false, onProgress, signal } = optionsIn(options, DELETE_PATTERN_OPTIONS);
    if (onProgress !== undefined) functionIn(onProgress, 'onProgress');
    const request = DeletePatternRequest.fromPartial({ pattern, allowAll, dryRun });
    return this.parts.memory.deleting(undefined, async () => {
      let deleted: DeletedPattern = { scanned: 0, matched: 0, deleted: 0 };
      for await (const progress of this.parts.rpc.deletePattern(request, { signal })) {
        deleted = {
          scanned: Number(progress.scanned),
          matched: Number(progress.matched),
          deleted: Number(progress.deleted),
        };
        onProgress?.(deleted);
      }
      return deleted;
    });
  }

  /** Hits, misses, loads and writes of the whole namespace, the keys read most, and the memory of Redis. */
  getCacheStats(options: CacheStatsOptions & CallOptions = {}): Promise<CacheStats> {
    return cacheStatsOf(this.parts.rpc, options);
  }

  /**
   * During `body`, and all it calls and awaits, what was asked for once is not asked for again: the memory of one request.
   * What this cache writes meanwhile is forgotten; what others write is not seen.
   */
  memo<Result>(body: () => Result): Result {
    return this.parts.memory.memo.run(functionIn(body, 'body'));
  }

  /** Whether the service is asked at all: see `circuit` in CacheOptions. */
  get circuitState(): 'closed' | 'open' | 'half-open' {
    return this.parts.degrading.circuitState;
  }

  /** Undefined without `nearCache`. */
  get nearCacheStats(): NearCacheStats | undefined {
    return this.parts.memory.near?.stats;
  }

  private async deleteAll(keys: readonly string[], options: DeleteOptions): Promise<boolean[]> {
    const { memory } = this.parts;
    return memory.deleting(keys, () => memory.deletions.delete(keys, options));
  }

  /** Caches that read values in different ways do not share them. */
  private view(kind: string): string {
    return `${kind} ${String(this.viewNumber)}`;
  }
}

/** For what others share, whose wait it must not end. */
function withoutSignal({ timeoutMs, retrySafe }: CallOptions): CallOptions {
  return { ...(timeoutMs !== undefined && { timeoutMs }), ...(retrySafe !== undefined && { retrySafe }) };
}
