import { FillStatus, GetOrLeaseRequest, GetOrLeaseStatus } from '../../gen/shardkeep/cache/v1/cache.js';
import type { Rpc } from '../rpc/rpc.js';
import { CALL_OPTIONS, type CallOptions } from '../transport/method.js';
import { AT_ONCE } from './cache-aside.js';
import type { CallerMemory } from './caller-memory.js';
import type { ValueFormat } from './codec/value-format.js';
import type { Degrading } from './degrading.js';
import { guardOf, type Entries, type SetOptions, type Stored } from './entries.js';
import { entryTermsOf, fillWith } from './entry-terms.js';
import { ENTRY_EXPIRY_OPTIONS } from './expiry.js';
import { LeasedLoad } from './leased-load.js';
import { functionIn, type OptionNames } from '../arguments.js';

export type WriteThroughOptions = Omit<SetOptions, 'condition'> & CallOptions;

export const WRITE_THROUGH_OPTIONS: OptionNames<WriteThroughOptions> = {
  ...ENTRY_EXPIRY_OPTIONS,
  ...CALL_OPTIONS,
  tags: true,
  jitterPercent: true,
  guard: true,
};

export type Writer<Value> = (value: Value) => Promise<void> | void;

export interface WriteThroughParts {
  readonly rpc: Rpc['cache'];
  readonly entries: Entries;
  readonly format: ValueFormat;
  readonly degrading: Degrading;
  readonly memory: CallerMemory;
  readonly defaultTimeoutMs: number;
}

/** What was there before the source was written, and lets a value be stored only if nothing was stored or deleted since. */
type Claim =
  | { readonly kind: 'lease'; readonly load: LeasedLoad; readonly leaseToken: Buffer }
  | { readonly kind: 'version'; readonly version: number }
  /** Somebody else loads, or the cache is away. */
  | { readonly kind: 'none' };

/** What becomes of the key where the value is not stored. */
const NOT_STORED: Stored = { stored: false, version: 0 };
const NO_CLAIM: Claim = { kind: 'none' };
/** Renewed while the writer runs. After a writer that died, so long nobody loads who does not find a value. */
const LEASE_MS = 5_000;

/**
 * Writes to the source, then to the cache, and never leaves in the cache what is older than the source.
 *
 * A writer takes a claim on the key, then the source is written, then it ends: it stores under its claim, or deletes the key. A
 * claim is a lease or, where the key holds an entry and gives no lease, the version of that entry. A loader (cacheAside) takes
 * a lease, reads the source and ends with Fill. Whatever is stored or deleted, by whomever, ends all claims on the key in that
 * same step of Redis: the lease is gone with it, and so is the version, which is never used twice. A lease that ran out and went
 * to somebody else has another token. So whoever can store under a claim knows that nobody has ended since it was taken.
 *
 * Why that is right, for any number of writers and loaders and however slow each of them is. Say that the key holds what X
 * stored, and that Y has ended and wrote to the source after X wrote to it or read it. X took its claim before that, so before
 * Y ended. If Y ended before X stored, X's claim was void. If it ended later, Y's own value or nothing took the place of
 * X's. So there is no such X: from the moment Y ends nobody reads from the cache what is older than Y's value, and when all
 * have ended the key holds the last value of the source, or nothing.
 *
 * Whoever has no claim (another one loads or writes, or the cache was away) deletes: nobody knows whose value the source has.
 * The load that runs is lost with that, and the next reader loads.
 *
 * All of it rests on each writer's end. So a deletion follows whatever goes wrong: the writer failed, and may have written; the
 * store failed, and may have been done; the caller gave up. It does not hold where the cache is away then (which is logged),
 * where the process dies before, or where the source is written after the writer has settled: an old entry stays until it expires.
 *
 * The token of a lease also knows when it was given, so a tag that is invalidated while the writer runs ends what it stores. A
 * Set counts tags from its own moment. Therefore a lease is asked for where there are tags, also over a fresh entry; where that
 * gives none, a tag that the entry before did not carry, or that is invalidated softly, can be missed.
 */
export class WriteThrough {
  constructor(private readonly parts: WriteThroughParts) {}

  /** Throws InvalidArgumentError for what could not be stored, before the writer runs. */
  async write<Value>(key: string, value: Value, writer: Writer<Value>, options: WriteThroughOptions): Promise<Stored> {
    functionIn(writer, 'writer');
    const { degrading, format, memory } = this.parts;
    entryTermsOf(key, options);
    guardOf(options.guard);
    // thrown away: the writer may add to the value, such as the id that a database gave
    format.encodePlain(value);
    const claim = await memory.deletions.settled([key], () => this.claim(key, options));
    let stored: Stored;
    try {
      await memory.runWriter(key, () => writer(value));
      stored = await this.store(key, value, claim, options);
    } catch (error) {
      await this.drop(key, options).catch((failure: unknown) => {
        degrading.say('error', 'a deletion is lost: what was there may be read until it expires', failure);
      });
      throw error;
    } finally {
      if (claim.kind === 'lease') claim.load.stop();
    }
    if (!stored.stored) await this.drop(key, options);
    return stored;
  }

  private async claim(key: string, { tags = [], timeoutMs, signal }: WriteThroughOptions): Promise<Claim> {
    const { rpc, degrading } = this.parts;
    const callOptions = { ...(timeoutMs !== undefined && { timeoutMs }), ...(signal !== undefined && { signal }) };
    const ask = (early: GetOrLeaseRequest['early']): ReturnType<typeof rpc.getOrLease> => {
      const request = GetOrLeaseRequest.fromPartial({ key, leaseMs: BigInt(LEASE_MS) });
      request.early = early;
      return rpc.getOrLease(request, callOptions);
    };
    const answer = await degrading.read(
      'a key is written through without its claim',
      undefined,
      callOptions,
      async () => {
        const first = await ask(tags.length > 0 ? AT_ONCE : undefined);
        // that the source has nothing has no version
        const isNothing = first.status === GetOrLeaseStatus.HIT && first.absent;
        return isNothing && tags.length === 0 ? ask(AT_ONCE) : first;
      },
    );
    if (answer === undefined) return NO_CLAIM;
    const { status, leaseToken, entry } = answer;
    if (status === GetOrLeaseStatus.LEASED) {
      const load = new LeasedLoad(rpc, degrading, { key, leaseToken, leaseMs: LEASE_MS });
      return { kind: 'lease', load, leaseToken };
    }
    return entry === undefined ? NO_CLAIM : { kind: 'version', version: Number(entry.version) };
  }

  private async store(key: string, value: unknown, claim: Claim, options: WriteThroughOptions): Promise<Stored> {
    const { memory } = this.parts;
    switch (claim.kind) {
      case 'lease':
        return memory.writing([key], () => this.fill(key, value, claim, options));
      case 'version':
        return memory.writing([key], () => this.set(key, value, claim.version, options));
      case 'none':
        return NOT_STORED;
    }
  }

  private async fill(
    key: string,
    value: unknown,
    { load, leaseToken }: Extract<Claim, { kind: 'lease' }>,
    options: WriteThroughOptions,
  ): Promise<Stored> {
    const bytes = this.parts.format.encode(value);
    const request = fillWith({ key, leaseToken }, entryTermsOf(key, options), { value, bytes });
    request.guard = guardOf(options.guard);
    const { status, version } = await load.fill(request, options);
    return status === FillStatus.FILLED ? { stored: true, version: Number(version) } : NOT_STORED;
  }

  private async set(key: string, value: unknown, version: number, options: WriteThroughOptions): Promise<Stored> {
    const { entries, degrading } = this.parts;
    try {
      const stored = await entries.set(key, value, { ...options, condition: { version } });
      return stored.stored ? stored : NOT_STORED;
    } catch (error) {
      // the condition is this pattern's own, and what was there is deleted; who sends a guard has to know
      if (options.guard !== undefined) throw error;
      return degrading.lose('a value is lost', NOT_STORED, error);
    }
  }

  /** Not under the caller's signal, nor in less than the client's usual time: an old value would stay. */
  private async drop(key: string, { timeoutMs = 0 }: WriteThroughOptions): Promise<void> {
    const { memory, defaultTimeoutMs } = this.parts;
    const options = { timeoutMs: Math.max(timeoutMs, defaultTimeoutMs) };
    await memory.deleting([key], () => memory.deletions.delete([key], options));
  }
}
