import { Buffer } from 'node:buffer';
import { DomainError } from '../errors.js';
import type { Call } from '../redis/call.js';
import { keys } from '../redis/keys.js';
import { UnexpectedReplyError } from '../redis/lua-script.js';
import type { Redis } from '../redis/redis.js';
import { hasExpired, readEntry, type LiveEntry } from './entry.js';
import type { Judge, NearCache } from './near-cache.js';
import {
  deleteScript,
  existsScript,
  getTtlScript,
  incrementScript,
  setScript,
  touchScript,
  type KeyTtl,
  type SetReply,
} from './scripts.js';

export type SetCondition =
  | { readonly kind: 'always' }
  | { readonly kind: 'absent' }
  | { readonly kind: 'present' }
  | { readonly kind: 'version'; readonly version: bigint };

export interface IncrementBounds {
  /** For a counter that is created; 0: no expiry. */
  readonly ttlMs: number;
  readonly floor: bigint | undefined;
  readonly ceiling: bigint | undefined;
}

/** Where a read may be answered from; `near` where there is no near cache is `master`. */
export type ReadFrom = 'master' | 'near';

/** Cache entries and counters on the `cache` Redis. Every method is atomic a key. */
export class CacheStore {
  private readonly toEntry = (packed: unknown): LiveEntry | undefined => {
    if (packed === null) return undefined;
    if (!Buffer.isBuffer(packed)) throw new UnexpectedReplyError('GET is no bulk string');
    return readEntry(packed, this.redis.clock.nowMs());
  };

  private readonly judge: Judge<LiveEntry | undefined> = (packed) => {
    const value = this.toEntry(packed);
    return packed !== null && hasExpired(packed, this.redis.clock.nowMs()) ? undefined : { value };
  };

  constructor(
    private readonly redis: Redis,
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
    const readRedis = (): Promise<LiveEntry | undefined> => this.redis.get(redisKey, this.toEntry, call);
    return from === 'near' && this.near !== undefined ? this.near.get(redisKey, this.judge, readRedis) : readRedis();
  }

  /** The reads of one tick leave in one write (on Cluster one a master). */
  getMany(cacheKeys: readonly string[], call: Call, from: ReadFrom = 'master'): Promise<(LiveEntry | undefined)[]> {
    return Promise.all(cacheKeys.map((key) => this.get(key, call, from)));
  }

  /** `ttlMs` 0: no expiry. */
  set(key: string, value: Buffer, options: { ttlMs: number; condition: SetCondition }, call: Call): Promise<SetReply> {
    const { ttlMs, condition } = options;
    const entry = keys.cache(call.namespace, key);
    const version = condition.kind === 'version' ? bigEndian(condition.version) : '';
    return this.redis.run(
      setScript.bind({ entry }, { value, ttlMs: String(ttlMs), condition: condition.kind, version }),
      call,
    );
  }

  delete(cacheKeys: readonly string[], call: Call): Promise<boolean[]> {
    return Promise.all(
      cacheKeys.map((key) => this.redis.run(deleteScript.bind({ key: keys.cache(call.namespace, key) }, {}), call)),
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
    bounds: IncrementBounds,
    call: Call,
  ): Promise<{ readonly applied: boolean; readonly value: bigint }> {
    const { ttlMs, floor, ceiling } = bounds;
    const reply = await this.redis.run(
      incrementScript.bind(
        { counter: keys.cache(call.namespace, key) },
        {
          delta: String(delta),
          ttlMs: String(ttlMs),
          floor: floor === undefined ? '' : String(floor),
          ceiling: ceiling === undefined ? '' : String(ceiling),
        },
      ),
      call,
    );
    if (reply.status === 'overflow') {
      throw new DomainError('COUNTER_OVERFLOW', 'the counter would leave the signed 64-bit range');
    }
    return { applied: reply.status === 'applied', value: reply.value };
  }
}

function bigEndian(version: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(version);
  return bytes;
}
