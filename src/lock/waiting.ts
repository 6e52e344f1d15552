import { performance } from 'node:perf_hooks';
import { DomainError } from '../errors.js';
import type { Call, ParkableCall } from '../redis/call.js';
import type { Redis } from '../redis/redis.js';
import { cancelWaitScript, claimLockScript, type FoundLost, type GrantedReply, type RefusedReply } from './scripts.js';
import type { LockStats } from './stats.js';
import type { WakeChannel, WakeChannels, WakeListener } from './wake-channels.js';

/** A place in the queue of a lock. */
export interface Place {
  readonly ticket: string;
  /** After this time something may change that nobody tells of; 0: never. */
  readonly changesInMs: number;
  readonly ttlMs: number;
}

/** `gone`: the place is lost, since this process was taken for dead. */
export type WaitOutcome = GrantedReply | RefusedReply | { readonly status: 'gone' };

/** Behind the moment by Redis's clock, so that the look finds it over. */
const OVER_MS = 2;
/** A notification that got lost, or that a process which stands still did not send, is repaired after so long at most. */
const LOOK_MS = 3_000;
/** How long a place that nobody waits at any more is tried to be given up; after that it ends by itself. */
const LEAVE_MS = 5_000;
/** How often a waiter looks while Redis is away. */
const AWAY_MS = 250;

/** One call that waits for a lock. */
export class Waiter implements WakeListener {
  readonly channel: WakeChannel;
  private wake: () => void = () => undefined;
  private isWoken = false;
  private queue: LocalQueue | undefined;
  private toldAt: { readonly changesInMs: number; readonly at: number } | undefined;

  constructor(
    wakes: WakeChannels,
    /** The key of the lock. */
    readonly lock: string,
    readonly lockToken: string,
    /** Names the call among all of the fleet. */
    readonly callId: string,
    /** On the clock of `performance.now()`. */
    readonly giveUpAt: number,
    private readonly call: ParkableCall,
  ) {
    this.channel = wakes.open(call.namespace, lock, lockToken, this);
    call.whenEnded(() => {
      this.wake();
    });
  }

  get namespace(): string {
    return this.call.namespace;
  }

  /** Whole milliseconds; 0 when it waits no more. */
  get leftMs(): number {
    return this.call.ended ? 0 : Math.max(0, Math.floor(this.giveUpAt - performance.now()));
  }

  readonly onGranted = (): void => {
    this.look();
  };

  readonly onChangesIn = (changesInMs: number): void => {
    // it may come before the answer that tells of the place
    this.toldAt = { changesInMs, at: performance.now() };
    this.queue?.lookIn(changesInMs);
  };

  readonly onMissed = (): void => {
    this.look();
  };

  /** It has a place in the queue. */
  join(queue: LocalQueue): void {
    this.queue = queue;
    if (this.toldAt === undefined || this.toldAt.changesInMs === 0) return;
    queue.lookIn(Math.max(1, this.toldAt.changesInMs - Math.floor(performance.now() - this.toldAt.at)));
  }

  /** Makes it look how its lock stands. */
  look(): void {
    this.isWoken = true;
    this.wake();
  }

  /** Resolves when it is to look, or waits no more. */
  async untilWoken(): Promise<void> {
    if (!this.isWoken && this.leftMs > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, this.leftMs);
        this.wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    this.isWoken = false;
  }

  close(): void {
    this.channel.close();
  }
}

/** The calls of this process in the queue of one lock. One of them looks for all when nobody tells of a change. */
class LocalQueue {
  private readonly waiters = new Set<Waiter>();
  private timer: NodeJS.Timeout | undefined;
  private dueAt = Number.POSITIVE_INFINITY;

  get isEmpty(): boolean {
    return this.waiters.size === 0;
  }

  join(waiter: Waiter): void {
    this.waiters.add(waiter);
  }

  leave(waiter: Waiter): void {
    this.waiters.delete(waiter);
    if (this.isEmpty) clearTimeout(this.timer);
  }

  /** Sees to it that somebody looks after this time, if not before; 0: nothing is known to change. */
  lookIn(changesInMs: number): void {
    const delayMs = Math.min(LOOK_MS, changesInMs === 0 ? LOOK_MS : changesInMs + OVER_MS);
    const dueAt = performance.now() + delayMs;
    if (dueAt >= this.dueAt || this.isEmpty) return;
    clearTimeout(this.timer);
    this.dueAt = dueAt;
    this.timer = setTimeout(() => {
      this.dueAt = Number.POSITIVE_INFINITY;
      const [first] = this.waiters;
      first?.look();
    }, delayMs).unref();
  }

  lookAll(): void {
    for (const waiter of [...this.waiters]) waiter.look();
  }
}

/** What calls do while they stand in the queues of locks. */
export class Waiting {
  private readonly queues = new Map<string, LocalQueue>();
  private readonly fenceRetentionMs: string;
  private draining = false;

  constructor(
    private readonly redis: Redis,
    private readonly stats: LockStats,
    { fenceRetentionMs }: { readonly fenceRetentionMs: number },
  ) {
    this.fenceRetentionMs = String(fenceRetentionMs);
  }

  /** Waits until the lock is granted, the time is over or the call ends; then the place is given up. */
  async wait(waiter: Waiter, place: Place): Promise<WaitOutcome> {
    const queue = this.queues.get(waiter.lock) ?? new LocalQueue();
    this.queues.set(waiter.lock, queue);
    queue.join(waiter);
    queue.lookIn(place.changesInMs);
    waiter.join(queue);
    const counts = this.stats.of(waiter.namespace);
    counts.waiting++;
    try {
      for (;;) {
        await waiter.untilWoken();
        if (waiter.leftMs === 0 || this.draining) return await this.cancel(waiter, place);
        const reply = await this.claim(waiter, place).catch(untilRedisIsBack);
        if (reply.status === 'waiting') {
          queue.lookIn(reply.changesInMs);
          continue;
        }
        queue.leave(waiter);
        // the others of this process are taken for dead as well
        if (reply.status === 'gone') queue.lookAll();
        else queue.lookIn(place.ttlMs);
        return reply;
      }
    } catch (error) {
      this.cancel(waiter, place).catch(() => undefined);
      throw error;
    } finally {
      counts.waiting--;
      queue.leave(waiter);
      if (queue.isEmpty && this.queues.get(waiter.lock) === queue) this.queues.delete(waiter.lock);
    }
  }

  /** Lets everybody go. */
  drain(): void {
    this.draining = true;
    for (const queue of this.queues.values()) queue.lookAll();
  }

  get isDraining(): boolean {
    return this.draining;
  }

  private async claim({ lock, lockToken, namespace }: Waiter, { ticket, ttlMs }: Place) {
    const { fenceRetentionMs } = this;
    const reply = await this.redis.run(
      claimLockScript.bind({ lock }, { lockToken, ticket, ttlMs: String(ttlMs), fenceRetentionMs }),
      callOfItsOwn(namespace),
    );
    return this.counted(reply, namespace);
  }

  private async cancel({ lock, lockToken, callId, namespace }: Waiter, { ticket }: Place): Promise<RefusedReply> {
    const { fenceRetentionMs } = this;
    const reply = await this.redis.run(
      cancelWaitScript.bind({ lock }, { lockToken, ticket, call: callId, fenceRetentionMs }),
      callOfItsOwn(namespace),
    );
    return this.counted(reply, namespace);
  }

  private counted<Reply extends FoundLost>(reply: Reply, namespace: string): Reply {
    if (reply.lost !== undefined) this.stats.of(namespace).lost(reply.lost);
    return reply;
  }
}

/** A Redis that is away for a moment does not end a wait: the place may be there yet. */
function untilRedisIsBack(error: unknown): { readonly status: 'waiting'; readonly changesInMs: number } {
  if (error instanceof DomainError && (error.code === 'REDIS_UNAVAILABLE' || error.code === 'OUTCOME_UNKNOWN')) {
    return { status: 'waiting', changesInMs: AWAY_MS };
  }
  throw error;
}

/** For what has to be done although the call that it is for may have ended. */
export function callOfItsOwn(namespace: string): Call {
  return { namespace, deadlineAt: performance.now() + LEAVE_MS, ended: false };
}
