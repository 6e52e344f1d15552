import { performance } from 'node:perf_hooks';
import type { Entry } from '../../../gen/shardkeep/cache/v1/cache.js';
import { invalidArgument } from '../../errors.js';
import type { Logger } from '../../logger.js';
import { ChangeFeed, type WatchRpc } from './change-feed.js';
import { KeptEntry } from './kept-entry.js';
import { RecentKeys } from './recent-keys.js';
import { MAX_NAMES, WatchedKeys, type WatchedKey } from './watched-keys.js';

export interface NearCacheOptions {
  /** What is kept may take so many bytes of memory, from 4,096; 64 MiB by default. */
  readonly maxBytes?: number;
  /**
   * So many keys may be watched, 1 to 16,384; 8,192 by default. A service process bears 131,072 of all its clients. The tags
   * of what is kept are watched too: keys and tags together are at most 16,384.
   */
  readonly maxEntries?: number;
  /** No answer from memory is older, whatever the service tells; milliseconds from 1, 60,000 by default. */
  readonly maxAgeMs?: number;
  /** Which keys may be kept; all by default. */
  readonly keys?: (key: string) => boolean;
}

export interface NearCacheStats {
  /** Lookups since the start that were answered from memory, and those that were not. */
  readonly hits: number;
  readonly misses: number;
  /** Answers that were dropped because their key or one of their tags was told as changed. */
  readonly invalidations: number;
  /** How often all that was kept had to go, because changes could not be told or the stream broke. */
  readonly resyncs: number;
  /** Keys of which something is kept now, and what that takes, in bytes as counted for `maxBytes`. */
  readonly entries: number;
  readonly bytes: number;
  /** Whether memory may answer now: false while changes are not told, and until the first key is watched. */
  readonly live: boolean;
}

/** A read that is about to be sent; what is known then decides whether its answer may be kept. */
export interface NearReading {
  readonly key: string;
  /** On the clock of `performance.now()`. */
  readonly sentAt: number;
  /** What had been counted then: of the key, and of all. */
  readonly changes: number;
  readonly generation: number;
  /** The requests to watch that were in force then. */
  readonly inForce: number;
}

/** `entry` undefined: the key holds none. */
export interface HeldAnswer {
  readonly entry: Entry | undefined;
}

/** Reads one key at the service, with READ_MASTER: what comes from another memory may be older than what was told. */
export type Load = (key: string) => Promise<Entry | undefined>;
/** Reads several; answers as many, in the order asked. */
export type LoadMany = (keys: readonly string[]) => Promise<readonly (Entry | undefined)[]>;

/** A read on its way, which others may share. */
interface Flight {
  readonly reading: NearReading;
  /** The turn of the event loop in which it began is not over. */
  isNew: boolean;
  readonly answer: Promise<Entry | undefined>;
}

const DEFAULT_MAX_BYTES = 67_108_864;
const MIN_BYTES = 4_096;
const DEFAULT_MAX_ENTRIES = 8_192;
const DEFAULT_MAX_AGE_MS = 60_000;

/**
 * Entries in the memory of this process, which CacheService.Watch keeps true.
 *
 * An answer is kept only if its key, and its tags, were watched in force before its read was sent, and nothing was told of
 * them since; and it is answered only while the service vouches, not longer than 3 seconds ago, that it has told everything.
 * So an answer from memory is the newest one, but for changes whose word is still on its way: about a round trip to the
 * service and one from there to Redis; at most 3 seconds, and 3 more until the service finds out when it loses its Redis.
 * What this client changed itself it never answers, if `forget` is called before the write is sent and when it is over.
 *
 * A key is watched when it is read for the second time, and kept from its next read on, or the one after that where the
 * service takes a while. An `Entry` from memory shares its value with others: do not write to its bytes.
 */
export class NearCache {
  private readonly feed: ChangeFeed;
  private readonly watched: WatchedKeys;
  private readonly recent: RecentKeys;
  private readonly flights = new Map<string, Flight>();
  private readonly maxAgeMs: number;
  private readonly mayKeep: (key: string) => boolean;
  /** Raised by whatever may have changed keys that are on their way without naming them, such as an invalidated tag. */
  private generation = 0;
  private hits = 0;
  private misses = 0;
  private invalidations = 0;
  private resyncs = 0;

  /** Throws InvalidArgumentError for options out of range. */
  constructor(rpc: WatchRpc, options: NearCacheOptions, logger: Logger) {
    const { maxBytes = DEFAULT_MAX_BYTES, maxEntries = DEFAULT_MAX_ENTRIES, maxAgeMs = DEFAULT_MAX_AGE_MS } = options;
    throwIfOutside('maxBytes', maxBytes, MIN_BYTES, Number.MAX_SAFE_INTEGER);
    throwIfOutside('maxEntries', maxEntries, 1, MAX_NAMES);
    throwIfOutside('maxAgeMs', maxAgeMs, 1, Number.MAX_SAFE_INTEGER);
    this.maxAgeMs = maxAgeMs;
    this.mayKeep = options.keys ?? (() => true);
    this.recent = new RecentKeys(Math.ceil(maxEntries / 2));
    this.feed = new ChangeFeed(rpc, logger, {
      onChanged: (keys, tags) => {
        this.changed(keys, tags);
      },
      onResync: () => {
        this.reset();
      },
      onLost: () => {
        this.reset();
        this.watched.clear();
      },
    });
    this.watched = new WatchedKeys(this.feed, { maxBytes, maxKeys: maxEntries });
    this.feed.start();
  }

  get stats(): NearCacheStats {
    const { hits, misses, invalidations, resyncs } = this;
    const { entries, bytes } = this.watched;
    return { hits, misses, invalidations, resyncs, entries, bytes, live: this.feed.isTrusted };
  }

  /**
   * Answers from memory, or else by `load`, which is called at once: one call at a time for a key that is watched, and one a
   * turn of the event loop for any other. A caller whose shared call failed makes one of its own. Rejects as `load` does.
   */
  get(key: string, load: Load): Promise<Entry | undefined> {
    const held = this.held(key);
    if (held !== undefined) return Promise.resolve(held.entry);
    return this.join(key, () => this.read(key, load)) ?? this.read(key, load);
  }

  /** As `get` for each key, with one call of `loadMany` for those that are neither in memory nor on their way. */
  async getMany(keys: readonly string[], loadMany: LoadMany): Promise<(Entry | undefined)[]> {
    const asked: string[] = [];
    let ask: () => void = () => undefined;
    const loaded = new Promise<void>((resolve) => {
      ask = resolve;
    }).then(() => loadMany(asked));
    const answers = keys.map((key): Promise<Entry | undefined> => {
      const held = this.held(key);
      if (held !== undefined) return Promise.resolve(held.entry);
      const joined = this.join(key, () => this.read(key, async () => (await loadMany([key]))[0]));
      if (joined !== undefined) return joined;
      const place = asked.push(key) - 1;
      return this.read(key, async () => (await loaded)[place]);
    });
    if (asked.length > 0) ask();
    return Promise.all(answers);
  }

  /** What memory has to answer now; undefined: nothing. With `begin` and `keep` it does what `get` does, for other RPCs. */
  held(key: string): HeldAnswer | undefined {
    const kept = this.watched.use(key)?.kept;
    if (kept !== undefined && this.checkTrust()) {
      const now = performance.now();
      if (now < kept.until) {
        this.hits++;
        return { entry: kept.answerAt(now) };
      }
    }
    this.misses++;
    return undefined;
  }

  /** To be called before the request is sent. */
  begin(key: string): NearReading {
    const watched = this.watched.find(key) ?? this.admit(key);
    const { generation, feed } = this;
    const sentAt = performance.now();
    return { key, sentAt, changes: watched?.changes ?? 0, generation, inForce: feed.requestsInForce };
  }

  /** Keeps the answer of a read with READ_MASTER, if that is safe; `entry` undefined: the key holds none. */
  keep(reading: NearReading, entry: Entry | undefined): void {
    const { key, sentAt } = reading;
    // what was answered is a key that may be watched
    this.recent.add(key);
    const watched = this.watched.find(key);
    if (watched === undefined) return;
    const tags = entry?.tags ?? [];
    const mayBeKept = this.isCurrent(reading, watched, tags) && this.checkTrust();
    // of reads that began before this answer none is known to be newer
    if (watched.answer(entry)) this.watched.drop(watched);
    this.watched.setTags(watched, tags);
    if (!mayBeKept || entry?.stale === true) return;
    this.watched.keep(watched, new KeptEntry(entry, sentAt, this.maxAgeMs), entry?.value.length ?? 0);
  }

  /** This client writes or deletes the key: to be called before the call is sent and again when it is over, however it ends. */
  forget(key: string): void {
    const watched = this.watched.find(key);
    if (watched === undefined) return;
    watched.changes++;
    this.watched.drop(watched);
  }

  /** This client invalidates tags: as `forget`, for all that carries one of them. */
  forgetTags(tags: readonly string[]): void {
    this.generation++;
    for (const tag of tags) for (const watched of this.watched.holdersOf(tag)) this.forget(watched.key);
  }

  /** This client changes keys that it does not know one by one, as by DeletePattern. */
  forgetAll(): void {
    this.generation++;
    this.watched.dropAll();
  }

  /** Ends the stream; what is asked from now on is read by `load`. */
  close(): void {
    this.feed.close();
  }

  private admit(key: string): WatchedKey | undefined {
    return this.feed.isOpen && this.recent.has(key) && this.mayKeep(key) ? this.watched.watch(key) : undefined;
  }

  /** Whether the answer of a read, with these tags, is so new that nobody was told of anything newer. */
  private isCurrent(reading: NearReading, watched: WatchedKey, tags: readonly string[]): boolean {
    const { feed } = this;
    if (reading.generation !== this.generation || reading.changes !== watched.changes) return false;
    if (feed.requestOf('key', reading.key) > reading.inForce) return false;
    return tags.every((tag) => feed.requestOf('tag', tag) <= reading.inForce);
  }

  /** What is not vouched for is gone for good: the word of what happened to it may come late. */
  private checkTrust(): boolean {
    if (this.feed.isTrusted) return true;
    this.reset();
    return false;
  }

  private reset(): void {
    this.generation++;
    if (this.watched.entries === 0) return;
    this.resyncs++;
    this.watched.dropAll();
  }

  private changed(keys: readonly string[], tags: readonly string[]): void {
    if (tags.length > 0) this.generation++;
    for (const tag of tags) for (const watched of this.watched.holdersOf(tag)) this.invalidate(watched);
    for (const key of keys) {
      const watched = this.watched.find(key);
      if (watched === undefined) continue;
      this.invalidate(watched);
      this.watched.countChange(watched);
    }
  }

  private invalidate(watched: WatchedKey): void {
    if (this.watched.drop(watched)) this.invalidations++;
  }

  /** Shares a read on its way, where its answer cannot be older than one of a read that began now. */
  private join(key: string, alone: () => Promise<Entry | undefined>): Promise<Entry | undefined> | undefined {
    const flight = this.flights.get(key);
    if (flight === undefined) return undefined;
    const { reading, isNew, answer } = flight;
    const watched = this.watched.find(key);
    const isWatched = watched?.tags !== undefined && this.isCurrent(reading, watched, watched.tags);
    if (!isNew && !(isWatched && this.checkTrust())) return undefined;
    // the error of another caller may come of what only that one asked for, such as too short a timeout
    return answer.catch(alone);
  }

  private read(key: string, load: Load): Promise<Entry | undefined> {
    const reading = this.begin(key);
    // rejects also where it throws
    const loaded = new Promise<Entry | undefined>((resolve) => {
      resolve(load(key));
    });
    const flight: Flight = { reading, isNew: true, answer: this.land(reading, loaded) };
    this.flights.set(key, flight);
    process.nextTick(() => {
      flight.isNew = false;
    });
    return flight.answer;
  }

  private async land(reading: NearReading, loaded: Promise<Entry | undefined>): Promise<Entry | undefined> {
    try {
      const entry = await loaded;
      this.keep(reading, entry);
      return entry;
    } finally {
      if (this.flights.get(reading.key)?.reading === reading) this.flights.delete(reading.key);
    }
  }
}

function throwIfOutside(name: string, value: number, min: number, max: number): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw invalidArgument(`${name} must be a whole number from ${String(min)} to ${String(max)}`, [name]);
}
