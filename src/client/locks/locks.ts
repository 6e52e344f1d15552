import { performance } from 'node:perf_hooks';
import { status as Code } from '@grpc/grpc-js';
import {
  CheckFencingTokenRequest,
  ExtendLockRequest,
  ForceReleaseLockRequest,
  GetLockStatsRequest,
  ListLocksRequest,
  LockOwnershipStatus,
  ReleaseLockRequest,
  WatchLocksRequest,
} from '../../gen/shardkeep/lock/v1/lock.js';
import { listIn, optionsIn } from '../arguments.js';
import { invalidArgument, shardkeepError } from '../errors.js';
import { toInt64, unlessZero } from '../int64.js';
import { MappedStream } from '../rpc/mapped-stream.js';
import type { Rpc } from '../rpc/rpc.js';
import { CALL_OPTIONS, type CallOptions } from '../transport/method.js';
import { throwIfNoTimeout } from '../transport/timeout.js';
import { toAcquireResult, type AcquireLockResult, type Lock } from './acquire-outcome.js';
import {
  ACQUIRE_LOCK_OPTIONS,
  throwIfAborted,
  toAcquireRequest,
  toHoldRequest,
  type AcquireLockOptions,
  type HoldLockOptions,
} from './acquire-request.js';
import { HeldLease, type HeldLock } from './held-lease.js';
import type { LockTakerOptions } from './hold-streams.js';
import { LockNotAcquiredError } from './lock-errors.js';
import { toHeldLock, toResources } from './lock-arguments.js';
import { LockKeeping } from './lock-keeping.js';
import { noLaterThan } from './no-later-than.js';
import {
  FORCE_RELEASE_LOCK_OPTIONS,
  LIST_LOCKS_OPTIONS,
  LOCK_STATS_OPTIONS,
  WATCH_LOCKS_OPTIONS,
  type CheckedFencingToken,
  type CleanedUpLocks,
  type ExtendLockResult,
  type ForceReleaseLockOptions,
  type ForceReleaseLockResult,
  type ListLocksOptions,
  type LockStatsOptions,
  type ReleaseLockResult,
  type WatchedLocks,
  type WatchLocksOptions,
} from './lock-operations.js';
import { toHolder, toState, toSummary, type LockState, type LockSummary } from './lock-state.js';
import { toStats, type LockStats } from './lock-stats.js';
import { runUnder, type LockedBody } from './with-lock.js';

/**
 * Named locks with a lease and a fencing token. Every method rejects with a ShardkeepError: InvalidArgumentError for what is
 * wrong, UnavailableError where the service or its Redis is away; a lock is never granted but by Redis.
 */
export class Locks {
  private readonly keeping: LockKeeping;

  constructor(
    private readonly rpc: Rpc['locks'],
    private readonly options: LockTakerOptions,
  ) {
    this.keeping = new LockKeeping(rpc, options);
  }

  /**
   * Does something while nobody else holds the resource, or any of the resources: takes the lock, waiting up to `waitMs`, runs
   * the body, renews the lease meanwhile, and releases the lock however the body ends. Answers what the body answers.
   *
   * Options may be left out. Rejects with LockNotAcquiredError, which says who is in the way, where the lock was not granted in that time; the body has
   * not begun then. Where the lock gets lost under the body its `signal` aborts with a LockLostError, and when the body has
   * ended withLock rejects with that error whatever the body answered: it may be worthless. What the body threw, unless it is
   * that error, is its `cause`. Otherwise what the body throws is thrown.
   *
   * **When the signal comes.** Always before the next holder can be granted the lock, where it gets lost by its lease: the
   * service is killed or stands still, a proxy or the network goes silent or breaks, Redis is away or fails over without losing
   * what it had acknowledged. The lease is counted here from when the last renewal was sent that was answered, and ends 2 % and
   * 10 ms early; the service keeps it whole when the connection breaks. That takes clocks that run alike: a clock of Redis
   * that is set forward, or that of a replica that takes over and is ahead, ends leases early.
   * After a loss that the service decides, by forceReleaseLock or since Redis lost what it had acknowledged, the signal comes
   * as soon as the service has told, and the next holder may have begun. With `afterLeases` forceReleaseLock waits for the
   * leases, and the signal comes before.
   *
   * **What the signal cannot do.** It stops nobody who does not look, and nothing that is on its way; and where the event
   * loop stands still (a long computation, a stopped process) it aborts when that is over, at the latest when the body reads
   * `lock.signal`. So write with the fencing token: a grant of `lock.grants` as the `guard` of a write to the cache or a session
   * makes the record refuse whoever has lost the lock, once a later holder has written.
   */
  withLock<Result>(resources: string | readonly string[], body: LockedBody<Result>): Promise<Result>;
  withLock<Result>(
    resources: string | readonly string[],
    options: HoldLockOptions | undefined,
    body: LockedBody<Result>,
  ): Promise<Result>;
  async withLock<Result>(
    resources: string | readonly string[],
    ...rest: readonly [LockedBody<Result>] | readonly [HoldLockOptions | undefined, LockedBody<Result>]
  ): Promise<Result> {
    const [options, body] = rest.length === 1 ? [undefined, rest[0]] : rest;
    // of plain JavaScript it may be missing, which is better known before the lock is taken
    if (typeof body !== 'function') throw invalidArgument('withLock needs a function to run', ['body']);
    return runUnder(await this.hold(resources, options), body);
  }

  /**
   * Takes a lock and keeps it, like withLock, until `release` is called, which is to be in any case. The same holds for its
   * `signal`. All locks of a client share a stream to the service. Rejects with LockNotAcquiredError where the lock is not
   * granted within `waitMs`.
   */
  holdLock(resources: string | readonly string[], options: HoldLockOptions = {}): Promise<HeldLock> {
    return this.hold(resources, options);
  }

  /**
   * Takes a lock that lasts for `ttlMs` unless it is extended or released; that another holds it is an answer. Several resources
   * are taken in one order whatever the order asked, so no two callers can wait for each other. Safe to try again, and tried
   * again where the service is away for a moment: each call has a random request id.
   */
  async acquireLock(
    resources: string | readonly string[],
    options: AcquireLockOptions = {},
  ): Promise<AcquireLockResult> {
    const { waitMs = 0, timeoutMs = this.options.timeoutMs, signal } = optionsIn(options, ACQUIRE_LOCK_OPTIONS);
    throwIfNoTimeout(timeoutMs);
    const request = toAcquireRequest(toResources(resources), options);
    const call = { timeoutMs: waitMs + timeoutMs, retrySafe: true, ...(signal && { signal }) };
    return toAcquireResult(await this.rpc.acquireLock(request, call));
  }

  /** Gives a lock back, first to who waits. Only its token can; safe to try again. */
  async releaseLock(
    lock: Pick<Lock, 'resources' | 'lockToken'>,
    options: CallOptions = {},
  ): Promise<ReleaseLockResult> {
    const request = ReleaseLockRequest.fromPartial(toHeldLock(lock));
    const { status, notHeldResources } = await this.rpc.releaseLock(request, optionsIn(options, CALL_OPTIONS));
    return isDone(status) ? { status: 'done' } : { status: 'not_holder', notHeldResources };
  }

  /**
   * Sets the end of a lease to `ttlMs` from now, 1 to 3,600,000 ms; it may shorten it. Only the lock's token can; safe to try
   * again.
   */
  async extendLock(
    lock: Pick<Lock, 'resources' | 'lockToken'>,
    ttlMs: number,
    options: CallOptions = {},
  ): Promise<ExtendLockResult> {
    const request = ExtendLockRequest.fromPartial({ ...toHeldLock(lock), ttlMs: toInt64(ttlMs, 'ttlMs') });
    const { status, expiresAtMs, notHeldResources } = await this.rpc.extendLock(
      request,
      optionsIn(options, CALL_OPTIONS),
    );
    return isDone(status)
      ? { status: 'done', expiresAtMs: Number(expiresAtMs) }
      : { status: 'not_holder', notHeldResources };
  }

  /**
   * Whether a fencing token is still the highest of its resource, for a store that has none of its own to compare with. It can
   * change right after the answer.
   */
  async checkFencingToken(
    resource: string,
    fencingToken: number,
    options: CallOptions = {},
  ): Promise<CheckedFencingToken> {
    const request = CheckFencingTokenRequest.fromPartial({
      resource,
      fencingToken: toInt64(fencingToken, 'fencingToken'),
    });
    const checked = await this.rpc.checkFencingToken(request, optionsIn(options, CALL_OPTIONS));
    return { valid: checked.valid, fencingToken: unlessZero(checked.fencingToken) };
  }

  /** Who holds a resource, and who waits for it. */
  async getLock(resource: string, options: CallOptions = {}): Promise<LockState> {
    return toState(resource, await this.rpc.getLock({ resource }, optionsIn(options, CALL_OPTIONS)));
  }

  /**
   * The resources that somebody holds or waits for, or that are closed after a loss, in no order. For people and tools: it goes
   * through all locks of the namespace. One that is there all the time is listed, possibly twice.
   */
  async *listLocks(options: ListLocksOptions = {}): AsyncGenerator<LockSummary, void, undefined> {
    const { prefix = '', pageSize = 0, ...call } = optionsIn(options, LIST_LOCKS_OPTIONS);
    let pageToken: Buffer = Buffer.alloc(0);
    do {
      const request = ListLocksRequest.fromPartial({ prefix, pageSize, pageToken });
      const { locks, nextPageToken } = await this.rpc.listLocks(request, call);
      yield* locks.map(toSummary);
      pageToken = nextPageToken;
    } while (pageToken.length > 0);
  }

  /**
   * How resources stand: first as they are, then after each change, of changes in quick succession possibly the last alone. It
   * never ends by itself; it throws UnavailableError when the service goes away or the connection breaks, and can be asked for
   * again then. Leaving the loop ends it.
   */
  watchLocks(options: WatchLocksOptions): AsyncIterableIterator<WatchedLocks, undefined> {
    const { resources = [], prefix = '', signal } = optionsIn(options, WATCH_LOCKS_OPTIONS);
    const request = WatchLocksRequest.fromPartial({ resources: listIn(resources, 'resources'), prefix });
    return new MappedStream(
      () => this.rpc.watchLocks(request, { signal }),
      ({ locks, resync }) => ({ locks: locks.map(toSummary), resync }),
    );
  }

  /**
   * Takes a resource from all its holders, for one that hangs, and raises the fence, so that checkFencingToken refuses them,
   * and guarded writes do from the next holder's first one on. Who waits is granted it next, at once unless `afterLeases`.
   * `reason` (1 to 256 bytes) is for the audit log and the holders. Name the `expectedFencingToken` you saw: then nothing
   * is taken from a later holder, and only then is the call tried again by itself.
   */
  async forceReleaseLock(
    resource: string,
    reason: string,
    options: ForceReleaseLockOptions = {},
  ): Promise<ForceReleaseLockResult> {
    const { expectedFencingToken, afterLeases = false, ...call } = optionsIn(options, FORCE_RELEASE_LOCK_OPTIONS);
    const request = ForceReleaseLockRequest.fromPartial({
      resource,
      reason,
      expectedFencingToken: toInt64(expectedFencingToken ?? 0, 'expectedFencingToken'),
      afterLeases,
    });
    const retrySafe = expectedFencingToken !== undefined;
    const { released, holders, fencingToken } = await this.rpc.forceReleaseLock(request, { retrySafe, ...call });
    return released
      ? { status: 'released', holders: holders.map(toHolder), fencingToken: Number(fencingToken) }
      : { status: 'other_token', fencingToken: unlessZero(fencingToken) };
  }

  /** Clears leases and waiters that are over. Nothing needs it; ResourceExhaustedError while one runs. */
  async cleanupExpiredLocks(options: CallOptions = {}): Promise<CleanedUpLocks> {
    const { scannedCount, expiredHolders, expiredWaiters } = await this.rpc.cleanupExpiredLocks(
      {},
      optionsIn(options, CALL_OPTIONS),
    );
    return {
      scannedCount: Number(scannedCount),
      expiredHolders: Number(expiredHolders),
      expiredWaiters: Number(expiredWaiters),
    };
  }

  /** What the locks of the namespace do, at most 10 s behind. */
  async getLockStats(options: LockStatsOptions = {}): Promise<LockStats> {
    const { hottestCount = 0, ...call } = optionsIn(options, LOCK_STATS_OPTIONS);
    return toStats(await this.rpc.getLockStats(GetLockStatsRequest.fromPartial({ hottestCount }), call));
  }

  /** Aborts the signals of all locks that are held, then releases them. For `close` of the client. */
  close(): Promise<void> {
    return this.keeping.close();
  }

  private async hold(resources: string | readonly string[], options: HoldLockOptions = {}): Promise<HeldLease> {
    const request = toHoldRequest(toResources(resources), options);
    const { timeoutMs, signal } = options;
    throwIfNoTimeout(timeoutMs);
    throwIfAborted(signal);
    const deadlineAt = performance.now() + request.waitMs + (timeoutMs ?? this.options.timeoutMs);
    const outcome = await this.keeping.hold(request, { timeoutMs, signal });
    if (!(outcome instanceof HeldLease)) throw new LockNotAcquiredError(request.resources, outcome);
    await noLaterThan(deadlineAt, outcome.freshen());
    const { loss } = outcome;
    if (loss === undefined) return outcome;
    await noLaterThan(deadlineAt, outcome.release());
    throw loss;
  }
}

function isDone(status: LockOwnershipStatus): boolean {
  if (status === LockOwnershipStatus.DONE) return true;
  if (status === LockOwnershipStatus.NOT_HOLDER) return false;
  throw shardkeepError(Code.UNKNOWN, 'the service answered what this client does not know');
}
