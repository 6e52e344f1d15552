import { Buffer } from 'node:buffer';
import { UnexpectedReplyError } from '../redis/lua-script.js';
import type { KeyTracking } from '../redis/tracking.js';

export interface NearCacheOptions {
  readonly tracking: Pick<KeyTracking, 'read'>;
  readonly maxBytes: number;
  /** No answer from memory is older than this, whatever Redis tells. */
  readonly ttlMs: number;
  /** Whether to remember that a key holds nothing: only where tracking tells at once that it was created, so not on Cluster. */
  readonly keepsMissing: boolean;
}

/** Where the bytes come from that are to be judged: a read that was made for the answer, or from before. */
export type JudgedFrom = 'redis' | 'memory';

/**
 * What the store makes of the bytes at a key (null: there are none), at the read and again at each answer from memory; what
 * it takes is answered, once each time.
 * `refused`: it must look at Redis itself until the key changes; `undecided`: now. What it throws fails that read; it does
 * not throw at what it took once.
 */
export type Judge<Value> = (
  packed: Buffer | null,
  from: JudgedFrom,
) => { readonly value: Value } | 'refused' | 'undecided';

/** `hits` and `misses` since the start, the others as they are now. */
export interface NearCacheUse {
  readonly hits: number;
  readonly misses: number;
  readonly entries: number;
  readonly bytes: number;
  readonly maxBytes: number;
}

/** A tracked read of Redis. */
interface KeyRead {
  readonly key: string;
  /** On the clock of `performance.now()`: the value was current then or later. */
  readonly sentAt: number;
  /** False once the key was changed: what was read may answer those who waited, and nobody else. */
  current: boolean;
  /** Ends the tracking. */
  stop: () => void;
}

interface ReadOnItsWay {
  readonly read: KeyRead;
  readonly packed: Promise<Buffer | null>;
}

interface Kept {
  readonly read: KeyRead;
  /** Undefined: the store looks at Redis itself until the key changes. */
  readonly packed: Buffer | null | undefined;
  readonly bytes: number;
}

/**
 * What an entry costs besides its key and bytes: slots of two maps, a buffer of its own, the listener. About 600 bytes as
 * V8 counts (a test holds it to that), and half as much again for growing maps and what the allocator loses.
 */
const OVERHEAD_BYTES = 900;
const BYTES_A_CHARACTER = 2;

/**
 * Packed bytes of keys that were read lately, in this process, until Redis tells of a change. Bounded in bytes; what was
 * not used for the longest time goes first.
 *
 * No older value can stay: the listener is there before the read is sent, and every change that is told or made by this
 * process in between makes the read one that is not kept.
 */
export class NearCache {
  /** In the order of use. */
  private readonly kept = new Map<string, Kept>();
  /** On their way, to be shared by all who ask meanwhile. */
  private readonly reads = new Map<string, ReadOnItsWay>();
  private bytesKept = 0;
  private hits = 0;
  private misses = 0;

  constructor(private readonly options: NearCacheOptions) {}

  get stats(): NearCacheUse {
    const { hits, misses, bytesKept: bytes, kept, options } = this;
    return { hits, misses, bytes, entries: kept.size, maxBytes: options.maxBytes };
  }

  /** Answers from memory, or by a tracked read; by `readRedis` where the store wants that or no tracked read is to be had. */
  get<Value>(key: string, judge: Judge<Value>, readRedis: () => Promise<Value>): Promise<Value> {
    const kept = this.kept.get(key);
    if (kept !== undefined) {
      if (performance.now() - kept.read.sentAt < this.options.ttlMs) return this.answer(kept, judge, readRedis);
      this.forget(kept.read);
    }
    this.misses++;
    const { read, packed } = this.reads.get(key) ?? this.begin(key);
    return packed.then(
      (bytes) => {
        const verdict = this.judged(read, bytes, judge);
        return typeof verdict === 'string' ? readRedis() : verdict.value;
      },
      // its error says more of this key and this moment
      () => readRedis(),
    );
  }

  /** Forgets a key that this process changed or may have changed; to be called before anybody is told of the change. */
  drop(key: string): void {
    const read = this.kept.get(key)?.read;
    if (read !== undefined) this.forget(read);
    const onItsWay = this.reads.get(key)?.read;
    if (onItsWay !== undefined) this.forget(onItsWay);
  }

  /** Forgets all, as after a change of unknown keys. */
  clear(): void {
    for (const { read } of this.kept.values()) this.forget(read);
    for (const { read } of this.reads.values()) this.forget(read);
  }

  private answer<Value>(kept: Kept, judge: Judge<Value>, readRedis: () => Promise<Value>): Promise<Value> {
    const { read, packed } = kept;
    const verdict = packed === undefined ? 'refused' : judge(packed, 'memory');
    if (typeof verdict === 'string') {
      this.misses++;
      if (packed !== undefined && verdict === 'refused') this.keep(read, undefined);
      return readRedis();
    }
    this.hits++;
    // to the end of the order
    this.kept.delete(read.key);
    this.kept.set(read.key, kept);
    return Promise.resolve(verdict.value);
  }

  private begin(key: string): ReadOnItsWay {
    const read: KeyRead = { key, sentAt: performance.now(), current: true, stop: () => undefined };
    const forget = (): void => {
      this.forget(read);
    };
    const packed = this.options.tracking.read(key, forget).then(
      ({ value, stop }) => {
        this.arrived(read);
        if (read.current) read.stop = stop;
        else stop();
        if (value === null || Buffer.isBuffer(value)) return value;
        throw new UnexpectedReplyError('GET is no bulk string');
      },
      (error: unknown) => {
        forget();
        throw error;
      },
    );
    const onItsWay = { read, packed };
    this.reads.set(key, onItsWay);
    return onItsWay;
  }

  /** Asks the store, and keeps what it takes. */
  private judged<Value>(read: KeyRead, packed: Buffer | null, judge: Judge<Value>): ReturnType<Judge<Value>> {
    let verdict: ReturnType<Judge<Value>>;
    try {
      verdict = judge(packed, 'redis');
    } catch (error) {
      this.forget(read);
      throw error;
    }
    // the first of those who waited has kept it
    if (!read.current || this.kept.get(read.key)?.read === read) return verdict;
    if (verdict === 'refused') this.keep(read, undefined);
    else if (packed !== null || this.options.keepsMissing) this.keep(read, packed);
    else this.forget(read);
    return verdict;
  }

  private keep(read: KeyRead, packed: Buffer | null | undefined): void {
    const { key } = read;
    const before = this.kept.get(key);
    if (before !== undefined && before.read !== read) this.forget(before.read);
    else this.remove(key);
    const bytes = OVERHEAD_BYTES + key.length * BYTES_A_CHARACTER + (packed?.length ?? 0);
    if (bytes > this.options.maxBytes) {
      this.forget(read);
      return;
    }
    this.bytesKept += bytes;
    while (this.bytesKept > this.options.maxBytes) {
      const [oldest] = this.kept.values();
      if (oldest === undefined) break;
      this.forget(oldest.read);
    }
    this.kept.set(key, { read, packed: packed && copyOf(packed), bytes });
  }

  private forget(read: KeyRead): void {
    read.current = false;
    read.stop();
    this.arrived(read);
    if (this.kept.get(read.key)?.read === read) this.remove(read.key);
  }

  /** Nobody joins it any more. */
  private arrived(read: KeyRead): void {
    if (this.reads.get(read.key)?.read === read) this.reads.delete(read.key);
  }

  private remove(key: string): void {
    const kept = this.kept.get(key);
    if (kept === undefined) return;
    this.kept.delete(key);
    this.bytesKept -= kept.bytes;
  }
}

/** What node-redis answers is a view of a whole chunk of the socket, which a view that is kept would keep; so would a pool. */
function copyOf(packed: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(packed.length);
  packed.copy(copy);
  return copy;
}
