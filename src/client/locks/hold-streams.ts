import { performance } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { status as Code } from '@grpc/grpc-js';
import { shardkeepError, UnauthenticatedError, UnavailableError } from '../errors.js';
import { failNextTurn } from '../event-loop.js';
import type { Logger } from '../logger.js';
import type { Rpc } from '../rpc/rpc.js';
import type { Lock, LockRefusal } from './acquire-outcome.js';
import { throwIfAborted, type HoldRequest } from './acquire-request.js';
import type { HeldLease } from './held-lease.js';
import { HoldStream } from './hold-stream.js';

export interface LockTakerOptions {
  /** For calls that name no timeout. */
  readonly timeoutMs: number;
  readonly logger: Logger;
}

export interface HoldCallOptions {
  /** How long the answer may take beyond the wait. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Takes locks and keeps them. */
export interface LockTaker {
  hold(request: HoldRequest, options: HoldCallOptions): Promise<HeldLease | LockRefusal>;
  /** Loses all locks, and releases them. */
  close(): Promise<void>;
}

/** As many as the client tries for other calls. */
const MAX_ATTEMPTS = 3;
const BASE_DELAY_MS = 25;
const MAX_DELAY_MS = 1_000;
/** The back-off of a release begins where that of so many tries has come to: the service is known to be away. */
const RELEASE_AFTER = 3;
/** 23 days: setTimeout fires at once for more than 2^31 ms, and a wait comes on top. */
const MAX_TIMEOUT_MS = 2_000_000_000;

/**
 * Locks by HoldLocks. All share one stream, or a further one where it has as many as it may; it is opened when it is needed,
 * and ends after the last lock. One that breaks takes its locks along; what was asked on it is asked again on another.
 */
export class HoldStreams implements LockTaker {
  private readonly streams = new Set<HoldStream>();
  private isClosed = false;

  constructor(
    private readonly rpc: Rpc['locks'],
    private readonly options: LockTakerOptions,
  ) {}

  async hold(request: HoldRequest, options: HoldCallOptions): Promise<HeldLease | LockRefusal> {
    const { timeoutMs = this.options.timeoutMs, signal } = options;
    const giveUpAt = performance.now() + request.waitMs;
    const deadlineAt = giveUpAt + Math.min(timeoutMs, MAX_TIMEOUT_MS);
    let [failures, drains] = [0, 0];
    let isByNextCredential = false;
    for (;;) {
      const waitMs = Math.max(0, Math.floor(giveUpAt - performance.now()));
      try {
        return await this.streamFor(request.resources.length).hold(request, { waitMs, deadlineAt, signal });
      } catch (error) {
        if (this.isClosed) return failNextTurn(error as Error);
        // the stream's credential ended under it: the next stream is opened with the one of the moment
        if (error instanceof UnauthenticatedError && !isByNextCredential) {
          isByNextCredential = true;
          continue;
        }
        if (!(error instanceof UnavailableError)) throw error;
        // a service that drains has not begun, and its successor may be there already
        const isDraining = error.reason === 'DRAINING';
        const delayMs = isDraining && drains === 0 ? 0 : (error.retryAfterMs ?? 0) + backoffMs(failures + drains);
        if (isDraining) drains++;
        else failures++;
        if (failures >= MAX_ATTEMPTS || performance.now() + delayMs >= deadlineAt) throw error;
        await delay(delayMs, undefined, signal === undefined ? {} : { signal }).catch(() => undefined);
        throwIfAborted(signal);
      }
    }
  }

  async close(): Promise<void> {
    this.isClosed = true;
    await Promise.all([...this.streams].map((stream) => stream.close()));
  }

  private streamFor(resources: number): HoldStream {
    if (this.isClosed) throw shardkeepError(Code.UNAVAILABLE, 'the client is closed');
    for (const stream of this.streams) if (stream.hasRoomFor(resources)) return stream;
    const { timeoutMs, logger } = this.options;
    const stream = new HoldStream(this.rpc.holdLocks(), {
      timeoutMs: Math.min(timeoutMs, MAX_TIMEOUT_MS),
      logger,
      releaseElsewhere: (lock, leaseMs) => this.releaseElsewhere(lock, leaseMs),
      onOver: (over) => {
        this.streams.delete(over);
      },
    });
    this.streams.add(stream);
    return stream;
  }

  /** What could not be released is tried again behind it, as long as the lease may be in the way of others. */
  private async releaseElsewhere({ resources, lockToken }: Lock, leaseMs: number): Promise<void> {
    const endsAt = performance.now() + leaseMs;
    const request = { resources: [...resources], lockToken };
    const insist = async (): Promise<void> => {
      for (let tries = RELEASE_AFTER; !this.isClosed && performance.now() < endsAt; tries++) {
        await delay(backoffMs(tries), undefined, { ref: false });
        try {
          await this.rpc.releaseLock(request);
          return;
        } catch (error) {
          if (!(error instanceof UnavailableError)) return;
        }
      }
    };
    try {
      await this.rpc.releaseLock(request);
    } catch (error) {
      if (error instanceof UnavailableError) void insist();
      throw error;
    }
  }
}

function backoffMs(before: number): number {
  const ceiling = Math.min(BASE_DELAY_MS * 2 ** before, MAX_DELAY_MS);
  return ceiling / 2 + Math.random() * (ceiling / 2);
}
