import type { Buffer } from 'node:buffer';
import { status as Code } from '@grpc/grpc-js';
import {
  FillRequest,
  GetOrLeaseRequest,
  GetOrLeaseStatus,
  type Entry,
  type GetOrLeaseResponse,
} from '../../gen/shardkeep/cache/v1/cache.js';
import { LoadFailedError, shardkeepError } from '../errors.js';
import type { Rpc } from '../rpc/rpc.js';
import type { CallerMemory } from './caller-memory.js';
import type { ValueFormat } from './codec/value-format.js';
import { isOutage, type Degrading } from './degrading.js';
import { fillWith } from './entry-terms.js';
import { LeasedLoad } from './leased-load.js';
import type { LeaseTerms, LoadTerms } from './load-terms.js';
import { runLoader } from './loader.js';
import { untilAborted } from './until-aborted.js';

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

/** From the first moment an entry is fresh: one caller a lease is asked to load, however new it is. */
export const AT_ONCE = { $case: 'earlyFraction', value: Number.MIN_VALUE } as const;

/**
 * The pattern cache-aside over leases: one caller of the whole fleet loads a key, and callers of one process share one
 * question. A value that a write or an invalidation overtook while it was loaded is answered, and not stored.
 */
export class CacheAside {
  constructor(private readonly parts: CacheAsideParts) {}

  /** `signal` ends this caller's wait only. */
  get<Value>(terms: LoadTerms<Value>, signal: AbortSignal | undefined): Promise<Value | undefined> {
    const { memory, view } = this.parts;
    if (memory.isWriter(terms.key)) return untilAborted(this.ask({ ...terms, waitMs: 0 }), signal);
    return memory.loads.join(view, terms.key, signal, () => this.ask(terms));
  }

  /** Loads and stores, however new the entry is; skipped where somebody else loads, or the last load failed. */
  async warm<Value>(terms: LoadTerms<Value>): Promise<WarmOutcome> {
    const answer = await this.lease({ ...terms, waitMs: 0, early: AT_ONCE });
    if (answer.status !== GetOrLeaseStatus.LEASED) return 'skipped';
    await this.fill(terms, answer);
    return 'warmed';
  }

  private async ask<Value>(terms: LoadTerms<Value>): Promise<Value | undefined> {
    const { key } = terms;
    const { near } = this.parts.memory;
    const kept = this.keptNear(terms);
    if (kept !== undefined) return kept.value as Value;
    const reading = near?.begin(key);
    let answer: GetOrLeaseResponse;
    try {
      answer = await this.parts.memory.deletions.settled([key], () => this.leaseOrEntry(terms));
      if (reading !== undefined && answer.status === GetOrLeaseStatus.HIT && !answer.absent)
        near?.keep(reading, answer.entry);
    } catch (error) {
      if (!isOutage(error) || this.parts.closing.aborted) throw error;
      this.parts.degrading.say('warn', 'a value was loaded without the cache', error);
      return this.loadAlone(terms);
    }
    switch (answer.status) {
      case GetOrLeaseStatus.HIT:
      case GetOrLeaseStatus.STALE:
        return this.use(terms, answer);
      case GetOrLeaseStatus.LEASED:
        return this.useLease(terms, answer);
      case GetOrLeaseStatus.LOADING:
        if (answer.loadFailed) throw new LoadFailedError(key, Number(answer.retryAfterMs));
        // somebody takes very long: waiting on would make one slow load everybody's
        return this.loadAlone(terms);
      default:
        throw shardkeepError(
          Code.UNKNOWN,
          'the service answered a status of GetOrLease that this client does not know',
        );
    }
  }

  /** A service that hangs is found out in the time of one call: only who hears that somebody loads waits beyond that. */
  private async leaseOrEntry(terms: LeaseTerms): Promise<GetOrLeaseResponse> {
    const answer = await this.lease({ ...terms, waitMs: 0 });
    if (answer.status !== GetOrLeaseStatus.LOADING || answer.loadFailed || terms.waitMs === 0) return answer;
    return this.lease(terms);
  }

  private lease(terms: LeaseTerms): Promise<GetOrLeaseResponse> {
    const { key, leaseMs, waitMs, early, timeoutMs } = terms;
    const request = GetOrLeaseRequest.fromPartial({ key, leaseMs: BigInt(leaseMs), waitMs: BigInt(waitMs) });
    request.early = early;
    const callMs = (timeoutMs ?? this.parts.defaultTimeoutMs) + waitMs;
    const ask = () => this.parts.rpc.getOrLease(request, { timeoutMs: callMs });
    return this.parts.degrading.ask(ask, timeoutMs === undefined ? {} : { timeoutMs });
  }

  /** An entry without a lease: what it says, or where this client cannot read it, what is loaded in its place. */
  private async use<Value>(terms: LoadTerms<Value>, { absent, entry }: GetOrLeaseResponse): Promise<Value | undefined> {
    if (absent || entry === undefined) return undefined;
    const decoded = this.parts.format.decode(entry.value);
    if (decoded.isKnown) return decoded.value as Value;
    this.parts.degrading.say('warn', 'an entry cannot be read', new TypeError(decoded.why));
    const value = await this.loadAlone(terms);
    if (value !== undefined) await this.replace(terms, value, entry);
    return value;
  }

  private async useLease<Value>(terms: LoadTerms<Value>, answer: GetOrLeaseResponse): Promise<Value | undefined> {
    const { absent, entry } = answer;
    const filled = this.fill(terms, answer);
    const kept = this.read(entry);
    if (!absent && kept === undefined) return filled;
    const isFresh = entry?.stale === false;
    if (isFresh || terms.servesStale) {
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
  private keptNear({ key, refreshMs }: LeaseTerms): { readonly value: unknown } | undefined {
    const entry = this.parts.memory.near?.held(key)?.entry;
    if (entry === undefined || entry.stale) return undefined;
    const leftMs = Number(entry.freshTtlMs ?? entry.ttlMs ?? Infinity);
    return leftMs < refreshMs ? undefined : this.read(entry);
  }

  private read(entry: Entry | undefined): { readonly value: unknown } | undefined {
    if (entry === undefined) return undefined;
    const decoded = this.parts.format.decode(entry.value);
    return decoded.isKnown ? decoded : undefined;
  }

  /** Loads under the lease and stores. Answers what was loaded, also when it could not be stored. */
  private async fill<Value>(terms: LoadTerms<Value>, { leaseToken }: GetOrLeaseResponse): Promise<Value | undefined> {
    const { rpc, degrading, memory } = this.parts;
    const { key, leaseMs } = terms;
    const load = new LeasedLoad(rpc, degrading, { key, leaseToken, leaseMs });
    try {
      const value = await this.run(terms);
      const request = this.fillRequest(terms, leaseToken, value);
      memory.near?.forget(key);
      await load.fill(request);
      memory.near?.forget(key);
      return value ?? undefined;
    } catch (error) {
      load.fail(terms.failureBackoffMs);
      throw error;
    } finally {
      load.stop();
    }
  }

  private fillRequest<Value>(
    { key, entry, absentTtlMs }: LoadTerms<Value>,
    leaseToken: Buffer,
    value: Value | null | undefined,
  ): FillRequest {
    if (value !== undefined && value !== null)
      return fillWith({ key, leaseToken }, entry, { value, bytes: this.parts.format.encode(value) });
    const request = FillRequest.fromPartial({ key, leaseToken, jitterPercent: entry.jitterPercent });
    request.result = { $case: 'absent', value: true };
    request.expiry = { $case: 'ttlMs', value: BigInt(absentTtlMs) };
    return request;
  }

  private async loadAlone<Value>(terms: LoadTerms<Value>): Promise<Value | undefined> {
    return (await this.run(terms)) ?? undefined;
  }

  private run<Value>({ key, loader, maxLoadMs }: LoadTerms<Value>): Promise<Value | null | undefined> {
    return runLoader(key, loader, { maxLoadMs, closing: this.parts.closing });
  }

  /** Puts what was loaded where an unreadable entry was, unless somebody was faster. */
  private async replace<Value>({ key, entry: terms }: LoadTerms<Value>, value: Value, entry: Entry): Promise<void> {
    const request = {
      key,
      value: this.parts.format.encode(value),
      expiry: terms.expiry,
      condition: { $case: 'ifVersion', value: entry.version } as const,
      tags: terms.tagsOf(value),
      jitterPercent: terms.jitterPercent,
    };
    await this.parts.degrading.write('a loaded value could not be stored', undefined, {}, () =>
      this.parts.rpc.set(request),
    );
  }
}
