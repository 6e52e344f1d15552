import { performance } from 'node:perf_hooks';
import { status as Code } from '@grpc/grpc-js';
import {
  LockLostReason,
  LockOwnershipStatus,
  ReleaseLockRequest,
  type HoldLocksRequest,
  type HoldLocksResponse,
  type LockLost,
} from '../../gen/shardkeep/lock/v1/lock.js';
import { outcomeUnknown, shardkeepError, type ShardkeepError } from '../errors.js';
import type { Logger } from '../logger.js';
import type { DuplexMessageStream } from '../rpc/message-stream.js';
import { toAcquireResult, type Lock, type LockRefusal } from './acquire-outcome.js';
import { toHoldLocksAcquire, type HoldRequest } from './acquire-request.js';
import { HeldLease, type LeaseKeeper } from './held-lease.js';
import type { LockLoss } from './lock-errors.js';
import { errorOf, foreignAnswer, StreamRequests, type Answer, type Asked } from './stream-requests.js';

export interface HoldStreamOptions {
  /** How long to wait for an answer to what does not wait for others. */
  readonly timeoutMs: number;
  readonly logger: Logger;
  /** Gives a lock back that the stream cannot give back, as it is over. */
  readonly releaseElsewhere: (lock: Lock, leaseMs: number) => Promise<void>;
  /** The stream is over. */
  readonly onOver: (stream: HoldStream) => void;
}

export interface HoldAttempt {
  readonly waitMs: number;
  /** On the clock of `performance.now()`. */
  readonly deadlineAt: number;
  readonly signal: AbortSignal | undefined;
}

/** A lock of the stream. */
interface Held {
  readonly lease: HeldLease;
  /** Its resources of which the service has not told that they are lost. */
  readonly left: Set<string>;
}

/** Of the 1,024 requests that a stream may have under way: those who wait for others leave room for those who release. */
const MAX_ACQUIRES = 500;
/** The service refuses more than 4,096. */
const MAX_RESOURCES = 4_000;
/** How long a stream without locks stays open for the next one. */
const IDLE_MS = 1_000;
/** How long the service may take to release all and end the stream. */
const END_MS = 2_000;

const LOSSES: ReadonlyMap<LockLostReason, LockLoss> = new Map([
  [LockLostReason.FORCE_RELEASED, 'force_released'],
  [LockLostReason.RELEASED, 'released'],
]);

/** One HoldLocks stream: many locks, their renewals, and what the service tells of them. */
export class HoldStream implements LeaseKeeper {
  private readonly requests: StreamRequests;
  private acquires = 0;
  /** That are held or asked for. */
  private resources = 0;
  /** By token. */
  private readonly held = new Map<string, Held>();
  private state: 'open' | 'ending' | 'over' = 'open';
  private timer: NodeJS.Timeout | undefined;
  private readonly over: Promise<void>;

  constructor(
    private readonly stream: DuplexMessageStream<Partial<HoldLocksRequest>, HoldLocksResponse>,
    private readonly options: HoldStreamOptions,
  ) {
    this.requests = new StreamRequests((request) => {
      if (this.isOpen()) stream.write(request);
    }, options.timeoutMs);
    this.over = this.read();
  }

  /** Whether it takes one more lock, of so many resources. */
  hasRoomFor(resources: number): boolean {
    return this.isOpen() && this.acquires < MAX_ACQUIRES && this.resources + resources <= MAX_RESOURCES;
  }

  /** Rejects with UnavailableError where the stream breaks meanwhile: another one finds the grant by the request's id. */
  hold(request: HoldRequest, { waitMs, deadlineAt, signal }: HoldAttempt): Promise<HeldLease | LockRefusal> {
    clearTimeout(this.timer);
    const askedAt = performance.now();
    const { length: resources } = request.resources;
    this.acquires++;
    this.resources += resources;
    return new Promise((resolve, reject) => {
      const call: { hasGivenUp: boolean; isSettled: boolean; timer: NodeJS.Timeout | undefined } = {
        hasGivenUp: false,
        isSettled: false,
        timer: undefined,
      };
      const giveUp = (error: ShardkeepError): void => {
        clearTimeout(call.timer);
        call.hasGivenUp = true;
        reject(error);
        this.requests.cancel(id);
      };
      const abort = (): void => {
        giveUp(shardkeepError(Code.CANCELLED, 'cancelled; should the lock be granted yet it is given back'));
      };
      const settle = (): void => {
        call.isSettled = true;
        clearTimeout(call.timer);
        signal?.removeEventListener('abort', abort);
        this.acquires--;
        this.resources -= resources;
      };
      const asked: Asked = {
        answered: (answer) => {
          settle();
          try {
            const outcome = this.outcomeOf(answer, request, askedAt);
            if (call.hasGivenUp && outcome instanceof HeldLease) void this.giveBack(outcome.lock, request.leaseMs);
            else resolve(outcome);
          } catch (error) {
            reject(error instanceof Error ? error : foreignAnswer());
          }
        },
        failed: (error) => {
          settle();
          reject(error);
        },
      };
      let id: bigint;
      try {
        id = this.requests.ask({ $case: 'acquire', value: toHoldLocksAcquire(request, waitMs) }, asked);
      } catch (error) {
        settle();
        throw error;
      }
      if (call.isSettled) return;
      call.timer = setTimeout(() => {
        giveUp(shardkeepError(Code.DEADLINE_EXCEEDED, 'no answer in time; a lock that is granted yet is given back'));
      }, deadlineAt - askedAt);
      signal?.addEventListener('abort', abort, { once: true });
    });
  }

  async renew({ lockToken }: Lock): Promise<boolean> {
    const answer = await this.requests.answerTo({ $case: 'renew', value: { lockToken } });
    if (answer.$case !== 'renewed') throw foreignAnswer();
    return answer.value.status === LockOwnershipStatus.DONE;
  }

  async release(lock: Lock, leaseMs: number): Promise<void> {
    try {
      if (!this.isOpen()) {
        await this.options.releaseElsewhere(lock, leaseMs);
        return;
      }
      const value = ReleaseLockRequest.fromPartial({ resources: [...lock.resources], lockToken: lock.lockToken });
      await this.requests.answerTo({ $case: 'release', value });
    } catch (error) {
      if (this.isOpen()) throw error;
      await this.options.releaseElsewhere(lock, leaseMs);
    } finally {
      this.forget(lock);
    }
  }

  /** Its locks are lost by their holders first, and then released; resolves when they are, as far as the service is there. */
  async close(): Promise<void> {
    this.loseAll('closed');
    this.end();
    await this.over;
  }

  private async read(): Promise<void> {
    let failure: Error = outcomeUnknown('the service ended the stream');
    try {
      for await (const { id, event } of this.stream) {
        if (event?.$case === 'lost') this.lose(event.value);
        else if (event !== undefined) this.requests.take(id, event);
        this.endIfIdle();
      }
    } catch (error) {
      failure = error as Error;
    }
    const hasBroken = this.isOpen();
    this.state = 'over';
    clearTimeout(this.timer);
    this.options.onOver(this);
    if (hasBroken) this.options.logger.debug({ err: failure }, 'a stream of locks broke');
    this.loseAll('disconnected');
    this.requests.failAll(failure);
  }

  private isOpen(): boolean {
    return this.state === 'open';
  }

  private lose({ lockToken, resources, reason, message }: LockLost): void {
    const held = this.held.get(lockToken);
    if (held === undefined) return;
    for (const resource of resources) held.left.delete(resource);
    held.lease.lose(LOSSES.get(reason) ?? 'expired', message);
    // what is left of several resources is renewed no more: it is released with the lock, or told to be lost as well
    if (held.left.size === 0) this.forget(held.lease.lock);
  }

  /** In the turn in which the answer came: that the lock is lost may be told right behind it. */
  private outcomeOf(answer: Answer, request: HoldRequest, askedAt: number): HeldLease | LockRefusal {
    // what it grants yet is released at its end
    if (!this.isOpen()) throw shardkeepError(Code.UNAVAILABLE, 'the client is closed');
    if (answer.$case === 'failed') throw errorOf(answer.value);
    if (answer.$case !== 'acquired') throw foreignAnswer();
    const result = toAcquireResult(answer.value);
    if (result.status !== 'granted') return result;
    const { lock } = result;
    const { logger } = this.options;
    const lease = new HeldLease(lock, { leaseMs: request.leaseMs, askedAt, keeper: this, logger });
    this.held.set(lock.lockToken, { lease, left: new Set(lock.resources) });
    this.resources += lock.resources.length;
    return lease;
  }

  /** For a lock that came too late. */
  private async giveBack(lock: Lock, leaseMs: number): Promise<void> {
    try {
      await this.release(lock, leaseMs);
    } catch (err) {
      this.options.logger.debug({ err, resources: lock.resources }, 'a lock that came too late could not be released');
    }
  }

  private forget({ lockToken, resources }: Lock): void {
    if (!this.held.delete(lockToken)) return;
    this.resources -= resources.length;
    this.endIfIdle();
  }

  private loseAll(loss: LockLoss): void {
    const all = [...this.held.values()];
    this.held.clear();
    for (const { lease } of all) lease.lose(loss);
  }

  private endIfIdle(): void {
    if (!this.isOpen()) return;
    clearTimeout(this.timer);
    if (this.held.size + this.requests.size > 0) return;
    this.timer = setTimeout(() => {
      this.end();
    }, IDLE_MS).unref();
  }

  /** The service answers what is under way, without waiting for others, releases what is held, and ends the stream. */
  private end(): void {
    if (!this.isOpen()) return;
    this.state = 'ending';
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.stream.cancel();
    }, END_MS);
    this.stream.end();
  }
}
