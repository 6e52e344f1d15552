import type { Buffer } from 'node:buffer';
import {
  FillRequest,
  GetOrLeaseRequest,
  GetOrLeaseStatus,
  type Entry,
  type GetOrLeaseResponse,
} from '../../gen/shardkeep/cache/v1/cache.js';
import { invalidArgument, LoadFailedError } from '../errors.js';
import type { Rpc } from '../rpc/rpc.js';
import { throwIfNoTimeout } from '../transport/timeout.js';
import type { CallerMemory } from './caller-memory.js';
import type { ValueFormat } from './codec/value-format.js';
import { isOutage, type Degrading } from './degrading.js';
import { entryExpiryOf, wholeMs, type EntryExpiryOptions } from './expiry.js';
import { LeasedLoad } from './leased-load.js';
import { runLoader, type Loader } from './loader.js';

export interface CacheAsideOptions<Value = unknown> extends EntryExpiryOptions {
  /**
   * Above 0 and below 1: when less than this part of `ttlMs` is left and somebody asks, one caller of the whole fleet loads anew
   * in the background. A key that nobody asks for runs out.
   */
  readonly refreshThreshold?: number;
  /** Names by which `invalidateByTag` ends the entry; at most 32. As a function of what was loaded. */
  readonly tags?: readonly string[] | ((value: Value) => readonly string[]);
  /** Remembers for so long that the source has nothing; by default that is not remembered. */
  readonly absentTtlMs?: number;
  /** Shortens the times at random by up to so many percent, 0 to 90, so that entries written together do not end together. */
  readonly jitterPercent?: number;
  /** What a caller gets while the entry is stale: the stale value at once, or what is loaded. `serve` by default. */
  readonly whileStale?: 'serve' | 'wait';
  /** After a load that failed nobody loads for so long, in the whole fleet: 1,000 by default, 0 to 600,000. */
  readonly failureBackoffMs?: number;
  /** A load that takes longer fails with DeadlineExceededError; 30,000 by default. */
  readonly maxLoadMs?: number;
  /** How long to wait for somebody else's load before loading beside it; 5,000 by default, 0 to 60,000. */
  readonly waitMs?: number;
  /** Until a loader that died is followed by another one, 1,000 to 600,000; 5,000 by default. It is renewed while a load runs. */
  readonly leaseMs?: number;
  /** The client's by default. */
  readonly timeoutMs?: number;
  /** Ends this caller's wait; the load goes on for the others. */
  readonly signal?: AbortSignal;
}

export interface CacheAsideParts {
  readonly rpc: Rpc['cache'];
  readonly format: ValueFormat;
  readonly degrading: Degrading;
  readonly memory: CallerMemory;
  /** Who decodes values in the same way. */
  readonly view: string;
  readonly defaultTimeoutMs: number;
  /** Aborts when the client closes. */
  readonly closing: AbortSignal;
}

export type WarmOutcome = 'warmed' | 'skipped';

const DEFAULT_WAIT_MS = 5_000;
const DEFAULT_LEASE_MS = 5_000;
const DEFAULT_MAX_LOAD_MS = 30_000;
/** From the first moment an entry is fresh: one caller a lease is asked to load, however new it is. */
const AT_ONCE = 1e-9;

/**
 * The pattern cache-aside over leases: one caller of the whole fleet loads a key, and callers of one process share one
 * question. A value that a write or an invalidation overtook while it was loaded is answered, and not stored.
 */
export class CacheAside {
  constructor(private readonly parts: CacheAsideParts) {}

  get<Value>(key: string, loader: Loader<Value>, options: CacheAsideOptions<Value>): Promise<Value | undefined> {
    const early = earlyOf(options);
    const { memory, view } = this.parts;
    return memory.loads.join(view, key, options.signal, () => this.ask(key, loader, options, early));
  }

  /** Loads and stores, however new the entry is; skipped where somebody else loads, or the last load failed. */
  async warm<Value>(key: string, loader: Loader<Value>, options: CacheAsideOptions<Value>): Promise<WarmOutcome> {
    const answer = await this.lease(key, { ...options, waitMs: 0 }, { $case: 'earlyFraction', value: AT_ONCE });
    if (answer.status !== GetOrLeaseStatus.LEASED) return 'skipped';
    await this.fill(key, loader, options, answer);
    return 'warmed';
  }

  private async ask<Value>(
    key: string,
    loader: Loader<Value>,
    options: CacheAsideOptions<Value>,
    early: GetOrLeaseRequest['early'],
  ): Promise<Value | undefined> {
    const { near } = this.parts.memory;
    const kept = this.keptNear(key, options);
    if (kept !== undefined) return kept.value as Value;
    const reading = near?.begin(key);
    let answer: GetOrLeaseResponse;
    try {
      answer = await this.lease(key, options, early);
      if (reading !== undefined && answer.status === GetOrLeaseStatus.HIT && !answer.absent)
        near?.keep(reading, answer.entry);
    } catch (error) {
      if (!isOutage(error)) throw error;
      this.parts.degrading.say('warn', 'a value was loaded without the cache', error);
      return this.loadAlone(key, loader, options);
    }
    switch (answer.status) {
      case GetOrLeaseStatus.HIT:
      case GetOrLeaseStatus.STALE:
        return this.use(key, loader, options, answer);
      case GetOrLeaseStatus.LEASED:
        return this.useLease(key, loader, options, answer);
      case GetOrLeaseStatus.LOADING:
        if (answer.loadFailed) throw new LoadFailedError(key, Number(answer.retryAfterMs));
        // somebody takes very long: waiting on would make one slow load everybody's
        return this.loadAlone(key, loader, options);
      default:
        throw new TypeError(`an answer of GetOrLease that is not known: ${String(answer.status)}`);
    }
  }

  private async lease(
    key: string,
    { leaseMs = DEFAULT_LEASE_MS, waitMs = DEFAULT_WAIT_MS, timeoutMs }: CacheAsideOptions<never>,
    early: GetOrLeaseRequest['early'],
  ): Promise<GetOrLeaseResponse> {
    const request = GetOrLeaseRequest.fromPartial({
      key,
      leaseMs: wholeMs(leaseMs, 'leaseMs'),
      waitMs: wholeMs(waitMs, 'waitMs'),
    });
    request.early = early;
    // with the wait on top a wrong one could be right
    throwIfNoTimeout(timeoutMs);
    const callMs = (timeoutMs ?? this.parts.defaultTimeoutMs) + waitMs;
    const ask = () => this.parts.rpc.getOrLease(request, { timeoutMs: callMs });
    return this.parts.degrading.ask(ask, timeoutMs === undefined ? {} : { timeoutMs });
  }

  /** An entry without a lease: what it says, or where this client cannot read it, what is loaded in its place. */
  private async use<Value>(
    key: string,
    loader: Loader<Value>,
    options: CacheAsideOptions<Value>,
    { absent, entry }: GetOrLeaseResponse,
  ): Promise<Value | undefined> {
    if (absent || entry === undefined) return undefined;
    const decoded = this.parts.format.decode(entry.value);
    if (decoded.isKnown) return decoded.value as Value;
    this.parts.degrading.say('warn', 'an entry cannot be read', new TypeError(decoded.why));
    const value = await this.loadAlone(key, loader, options);
    if (value !== undefined) await this.replace(key, value, options, entry);
    return value;
  }

  private async useLease<Value>(
    key: string,
    loader: Loader<Value>,
    options: CacheAsideOptions<Value>,
    answer: GetOrLeaseResponse,
  ): Promise<Value | undefined> {
    const { absent, entry } = answer;
    const filled = this.fill(key, loader, options, answer);
    const kept = this.read(entry);
    if (!absent && kept === undefined) return filled;
    const isFresh = entry?.stale === false;
    if (isFresh || options.whileStale !== 'wait') {
      filled.catch((error: unknown) => {
        this.parts.degrading.say('warn', 'a load in the background failed', error);
      });
      return kept?.value as Value | undefined;
    }
    return filled.catch((error: unknown) => {
      this.parts.degrading.say('warn', 'a load failed; the stale value is used', error);
      return kept?.value as Value | undefined;
    });
  }

  /** What the memory of this process has, unless it is so near its end that the service is to decide who loads anew. */
  private keptNear(
    key: string,
    { ttlMs = 0, refreshThreshold = 0 }: CacheAsideOptions<never>,
  ): { readonly value: unknown } | undefined {
    const entry = this.parts.memory.near?.held(key)?.entry;
    if (entry === undefined || entry.stale) return undefined;
    const leftMs = Number(entry.freshTtlMs ?? entry.ttlMs ?? Infinity);
    return leftMs < ttlMs * refreshThreshold ? undefined : this.read(entry);
  }

  private read(entry: Entry | undefined): { readonly value: unknown } | undefined {
    if (entry === undefined) return undefined;
    const decoded = this.parts.format.decode(entry.value);
    return decoded.isKnown ? decoded : undefined;
  }

  /** Loads under the lease and stores. Answers what was loaded, also when it could not be stored. */
  private async fill<Value>(
    key: string,
    loader: Loader<Value>,
    options: CacheAsideOptions<Value>,
    { leaseToken }: GetOrLeaseResponse,
  ): Promise<Value | undefined> {
    const { leaseMs = DEFAULT_LEASE_MS, failureBackoffMs = 1_000 } = options;
    const load = new LeasedLoad(this.parts.rpc, this.parts.degrading, { key, leaseToken, leaseMs });
    try {
      const value = await this.run(key, loader, options);
      const request = this.fillRequest(key, leaseToken, value, options);
      this.parts.memory.near?.forget(key);
      await load.fill(request);
      this.parts.memory.near?.forget(key);
      return value ?? undefined;
    } catch (error) {
      load.fail(failureBackoffMs);
      throw error;
    } finally {
      load.stop();
    }
  }

  private fillRequest<Value>(
    key: string,
    leaseToken: Buffer,
    value: Value | null | undefined,
    options: CacheAsideOptions<Value>,
  ): FillRequest {
    const request = FillRequest.fromPartial({ key, leaseToken, jitterPercent: options.jitterPercent ?? 0 });
    if (value === undefined || value === null) {
      request.result = { $case: 'absent', value: true };
      // what is not to be remembered is still the answer to those who wait for it now
      request.expiry = { $case: 'ttlMs', value: wholeMs(options.absentTtlMs ?? 1, 'absentTtlMs') };
      return request;
    }
    request.result = { $case: 'value', value: this.parts.format.encode(value) };
    request.expiry = entryExpiryOf(options);
    const { tags = [] } = options;
    request.tags = [...(typeof tags === 'function' ? tags(value) : tags)];
    return request;
  }

  private async loadAlone<Value>(
    key: string,
    loader: Loader<Value>,
    options: CacheAsideOptions<Value>,
  ): Promise<Value | undefined> {
    return (await this.run(key, loader, options)) ?? undefined;
  }

  private run<Value>(
    key: string,
    loader: Loader<Value>,
    { maxLoadMs = DEFAULT_MAX_LOAD_MS }: CacheAsideOptions<Value>,
  ): Promise<Value | null | undefined> {
    return runLoader(key, loader, { maxLoadMs, closing: this.parts.closing });
  }

  /** Puts what was loaded where an unreadable entry was, unless somebody was faster. */
  private async replace<Value>(
    key: string,
    value: Value,
    options: CacheAsideOptions<Value>,
    entry: Entry,
  ): Promise<void> {
    const { tags = [], jitterPercent = 0 } = options;
    const request = {
      key,
      value: this.parts.format.encode(value),
      expiry: entryExpiryOf(options),
      condition: { $case: 'ifVersion', value: entry.version } as const,
      tags: [...(typeof tags === 'function' ? tags(value) : tags)],
      jitterPercent,
    };
    await this.parts.degrading.write('a loaded value could not be stored', undefined, {}, () =>
      this.parts.rpc.set(request),
    );
  }
}

function earlyOf({ refreshThreshold }: CacheAsideOptions<never>): GetOrLeaseRequest['early'] {
  if (refreshThreshold === undefined) return undefined;
  if (!(refreshThreshold > 0 && refreshThreshold < 1))
    throw invalidArgument('refreshThreshold must be above 0 and below 1', ['refreshThreshold']);
  return { $case: 'earlyFraction', value: 1 - refreshThreshold };
}
