import { Buffer } from 'node:buffer';
import { answerTooLarge, DomainError } from '../errors.js';
import type { Call } from '../redis/call.js';
import type { Guard } from '../redis/guard.js';
import { keys } from '../redis/keys.js';
import { UnexpectedReplyError } from '../redis/lua-script.js';
import type { Redis } from '../redis/redis.js';
import { hasExpired, packTags, readEntry, type LiveEntry } from './entry.js';
import { packGuard } from './guard.js';
import type { Judge, NearCache } from './near-cache.js';
import {
  deleteScript,
  existsScript,
  getTtlScript,
  incrementOnceScript,
  incrementScript,
  setScript,
  touchScript,
  type IncrementReply,
  type KeyTtl,
  type SetReply,
} from './scripts.js';
import { COUNTER, type CacheCounts, type CacheStats } from './stats.js';
import type { IncrementOptions, SetCondition, SetOptions } from './write-options.js';
import type { InvalidationMode, TagTable, TagTables } from './tags.js';

export interface CacheStoreOptions {
  /** How long the highest fencing token of a guard is remembered. */
  readonly fenceRetentionMs: number;
  readonly maxMessageBytes: number;
}

/** Where a read may be answered from; `near` where there is no near cache is `master`. */
export type ReadFrom = 'master' | 'near';

/** What a read makes of Redis's reply. */
type EntryParser = (packed: unknown) => LiveEntry | undefined | Promise<LiveEntry | undefined>;

/** What reads of one namespace share. */
interface Space {
  readonly table: TagTable;
  readonly counts: CacheCounts;
  /** For a namespace that has had no tagged entry lately: one that comes costs a second trip. */
  readonly parser: EntryParser;
}

/** Keys of a GetMany that are read before it is known how large their values are. */
const FIRST_KEYS = 64;
const SMALL_VALUE_BYTES = 16_384;

/** How long a retry of an increment finds its first try. */
const REMEMBER_REQUEST_MS = 600_000;

/** Cache entries and counters on the `cache` Redis. Every method is atomic a key. */
export class CacheStore {
  private readonly spaces = new Map<string, Space>();

  constructor(
    private readonly redis: Redis,
    private readonly tags: TagTables,
    private readonly stats: CacheStats,
    private readonly options: CacheStoreOptions,
    private readonly near?: NearCache,
  ) {
    if (near === undefined) return;
    redis.onWritten((written) => {
      for (const key of written) near.drop(key);
    });
  }

  /** A plain read, 1.7 times cheaper than a script; what it says of time comes from the copy of Redis's clock. */
  get(key: string, call: Call, from: ReadFrom = 'master'): Promise<LiveEntry | undefined> {
    const redisKey = keys.cache(call.namespace, key);
    const space = this.spaceOf(call.namespace);
    const { counts } = space;
    counts.hotKeys.read(key);
    if (from === 'master' || this.near === undefined) return this.readMaster(redisKey, space, call);
    return this.near.get(redisKey, this.nearJudge(space), () => {
      counts.count(COUNTER.nearMisses);
      return this.readMaster(redisKey, space, call);
    });
  }

  /**
   * The first keys in one trip (on Cluster one a master), the rest in another. Throws MESSAGE_TOO_LARGE as soon as the values
   * are more than an answer may hold: all keys at once could be hundreds of MiB that nobody can be sent.
   */
  async getMany(
    cacheKeys: readonly string[],
    call: Call,
    from: ReadFrom = 'master',
  ): Promise<(LiveEntry | undefined)[]> {
    const entries: (LiveEntry | undefined)[] = [];
    let bytes = 0;
    let slice = FIRST_KEYS;
    while (entries.length < cacheKeys.length) {
      const some = cacheKeys.slice(entries.length, entries.length + slice);
      const read = await Promise.all(some.map((key) => this.get(key, call, from)));
      for (const entry of read) bytes += entry?.packed.length ?? 0;
      if (bytes > this.options.maxMessageBytes) throw answerTooLarge();
      entries.push(...read);
      if (bytes < SMALL_VALUE_BYTES * entries.length) slice = cacheKeys.length;
    }
    return entries;
  }

  set(key: string, value: Buffer, options: SetOptions, call: Call): Promise<SetReply> {
    const { condition, tags } = options;
    const entry = keys.cache(call.namespace, key);
    if (condition.kind !== 'always') return this.setIf(condition.kind, entry, value, options, call);
    if (tags.length === 0) return this.write(entry, value, '', options, call);
    const clock = this.tags.of(call.namespace).ensureClock();
    return clock.then((seq) => this.write(entry, value, packTags(seq, tags), options, call));
  }

  delete(cacheKeys: readonly string[], guard: Guard | undefined, call: Call): Promise<boolean[]> {
    const args = { guard: packGuard(guard, this.options.fenceRetentionMs) };
    const counts = this.stats.of(call.namespace);
    return Promise.all(
      cacheKeys.map(async (key) => {
        const held = await this.redis.run(deleteScript.bind({ key: keys.cache(call.namespace, key) }, args), call);
        if (held) counts.count(COUNTER.deletes);
        return held;
      }),
    );
  }

  exists(cacheKeys: readonly string[], call: Call): Promise<boolean[]> {
    return Promise.all(
      cacheKeys.map((key) => this.redis.run(existsScript.bind({ key: keys.cache(call.namespace, key) }, {}), call)),
    );
  }

  /** `ttlMs` 0: no expiry. */
  touch(cacheKeys: readonly string[], ttlMs: number, call: Call): Promise<boolean[]> {
    const args = { ttlMs: String(ttlMs) };
    return Promise.all(
      cacheKeys.map((key) => this.redis.run(touchScript.bind({ key: keys.cache(call.namespace, key) }, args), call)),
    );
  }

  getTtl(cacheKeys: readonly string[], call: Call): Promise<KeyTtl[]> {
    return Promise.all(
      cacheKeys.map((key) => this.redis.run(getTtlScript.bind({ key: keys.cache(call.namespace, key) }, {}), call)),
    );
  }

  /** Throws COUNTER_OVERFLOW where the sum has more than 64 bits. */
  async increment(
    key: string,
    delta: bigint,
    options: IncrementOptions,
    call: Call,
  ): Promise<{ readonly applied: boolean; readonly value: bigint }> {
    const reply = await this.runIncrement(key, delta, options, call);
    if (reply.status === 'overflow') {
      throw new DomainError('COUNTER_OVERFLOW', 'the counter would leave the signed 64-bit range');
    }
    const applied = reply.status === 'applied';
    if (applied) this.stats.of(call.namespace).count(COUNTER.increments);
    return { applied, value: reply.value };
  }

  /** Answers the tick of the invalidation. */
  async invalidateTags(tags: readonly string[], mode: InvalidationMode, call: Call): Promise<number> {
    const tick = await this.tags.of(call.namespace).invalidate(tags, mode, call);
    this.stats.of(call.namespace).count(COUNTER.tagInvalidations, tags.length);
    return tick;
  }

  /** For conditions an entry that one of its tags ended is none, as it is for reads. */
  private async setIf(
    kind: SetCondition['kind'],
    entry: string,
    value: Buffer,
    options: SetOptions,
    call: Call,
  ): Promise<SetReply> {
    const { tags } = options;
    const packedTags = tags.length === 0 ? '' : packTags(await this.tags.of(call.namespace).ensureClock(), tags);
    if (kind !== 'absent' && (await this.isEnded(entry, call))) return { status: 'unmet', version: 0 };
    const reply = await this.write(entry, value, packedTags, options, call);
    if (kind !== 'absent' || reply.version === 0 || reply.status === 'stored') return reply;
    if (!(await this.isEnded(entry, call))) return reply;
    // in the place of just that one
    const condition = { kind: 'version', version: BigInt(reply.version) } as const;
    return this.write(entry, value, packedTags, { ...options, condition }, call);
  }

  private write(
    entry: string,
    value: Buffer,
    tags: Buffer | '',
    { ttlMs, freshMs, condition, guard }: SetOptions,
    call: Call,
  ): Promise<SetReply> {
    const args = {
      value,
      ttlMs: String(ttlMs),
      condition: condition.kind,
      version: condition.kind === 'version' ? bigEndian(condition.version) : '',
      freshMs: String(freshMs),
      tags,
      guard: packGuard(guard, this.options.fenceRetentionMs),
    };
    const counts = this.stats.of(call.namespace);
    return this.redis.run(setScript.bind({ entry }, args), call).then((reply) => {
      counts.count(reply.status === 'stored' ? COUNTER.sets : COUNTER.setsUnmet);
      return reply;
    });
  }

  /**
   * Whether a key holds an entry that one of its tags ended. Scripts cannot tell: the table of tags is in another slot. What
   * is ended once stays so.
   */
  private isEnded(entry: string, call: Call): Promise<boolean> {
    const { table } = this.spaceOf(call.namespace);
    const clock = table.current();
    clock.catch(() => undefined);
    const isEnded = (packed: unknown): boolean | Promise<boolean> => {
      const held = Buffer.isBuffer(packed) ? readEntry(packed, this.redis.clock.nowMs()) : undefined;
      if (held === undefined || held.tags.length === 0) return false;
      return clock.then((tick) => table.judge(held, tick) === 'dead');
    };
    return this.redis.get(entry, isEnded, call);
  }

  private readMaster(redisKey: string, space: Space, call: Call): Promise<LiveEntry | undefined> {
    return this.redis.get(redisKey, space.table.isInUse ? this.judgeWith(space) : space.parser, call);
  }

  /** Counts what is answered. */
  private nearJudge({ table, counts }: Space): Judge<LiveEntry | undefined> {
    return (packed, from) => {
      const verdict = this.judgeNear(packed, table);
      if (typeof verdict === 'string') return verdict;
      if (from === 'memory') counts.lookedUpInMemory(verdict.value);
      else {
        counts.count(COUNTER.nearMisses);
        counts.lookedUp(verdict.value);
      }
      return verdict;
    };
  }

  /** What the bytes are now that the near cache holds of an entry. */
  private judgeNear(packed: Buffer | null, table: TagTable): ReturnType<Judge<LiveEntry | undefined>> {
    if (packed === null) return { value: undefined };
    const nowMs = this.redis.clock.nowMs();
    const entry = readEntry(packed, nowMs);
    if (entry === undefined) return hasExpired(packed, nowMs) ? 'refused' : { value: undefined };
    if (entry.absent) return { value: undefined };
    if (entry.tags.length === 0) return { value: entry };
    const clock = table.followedClock();
    if (clock === undefined) return 'undecided';
    const value = judged(entry, table, clock);
    return value === undefined ? 'refused' : { value };
  }

  /** Asks for the tag clock in the same trip as the entry. */
  private judgeWith({ table, counts }: Space): EntryParser {
    const clock = table.current();
    // whoever needs it awaits it; where nobody does, its failure is nobody's
    clock.catch(() => undefined);
    return (packed) => {
      const entry = this.parse(packed);
      if (entry === undefined || entry.tags.length === 0) return counts.lookedUp(entry);
      return clock.then((tick) => counts.lookedUp(judged(entry, table, tick)));
    };
  }

  /** Made once, not for each read. */
  private spaceOf(namespace: string): Space {
    let space = this.spaces.get(namespace);
    if (space === undefined) {
      const table = this.tags.of(namespace);
      const counts = this.stats.of(namespace);
      const parser: EntryParser = (packed) => {
        const entry = this.parse(packed);
        if (entry === undefined || entry.tags.length === 0) return counts.lookedUp(entry);
        return table.current().then((clock) => counts.lookedUp(judged(entry, table, clock)));
      };
      space = { table, counts, parser };
      this.spaces.set(namespace, space);
    }
    return space;
  }

  private parse(packed: unknown): LiveEntry | undefined {
    if (packed === null) return undefined;
    if (!Buffer.isBuffer(packed)) throw new UnexpectedReplyError('GET is no bulk string');
    const entry = readEntry(packed, this.redis.clock.nowMs());
    return entry?.absent === true ? undefined : entry;
  }

  private runIncrement(key: string, delta: bigint, options: IncrementOptions, call: Call): Promise<IncrementReply> {
    const { ttlMs, floor, ceiling, guard, requestId } = options;
    const { namespace } = call;
    const counter = keys.cache(namespace, key);
    const args = {
      delta: String(delta),
      ttlMs: String(ttlMs),
      floor: floor === undefined ? '' : String(floor),
      ceiling: ceiling === undefined ? '' : String(ceiling),
    };
    // one key where one is enough: a script of several waits while their slot moves
    if (guard === undefined && requestId === '') return this.redis.run(incrementScript.bind({ counter }, args), call);
    return this.redis.run(
      incrementOnceScript.bind(
        {
          counter,
          fence: keys.counterFence(namespace, key),
          request: keys.incrementRequest(namespace, key, requestId),
        },
        {
          ...args,
          guard: packGuard(guard, this.options.fenceRetentionMs),
          rememberMs: String(requestId === '' ? 0 : REMEMBER_REQUEST_MS),
        },
      ),
      call,
    );
  }
}

/** The entry as its tags leave it; `clock` is what the table's `current` answered. */
function judged(entry: LiveEntry, table: TagTable, clock: number | undefined): LiveEntry | undefined {
  const verdict = table.judge(entry, clock);
  if (verdict === 'dead') return undefined;
  if (verdict === 'stale') entry.stale = true;
  return entry;
}

function bigEndian(version: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(version);
  return bytes;
}
