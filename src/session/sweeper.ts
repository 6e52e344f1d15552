import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { DomainError } from '../errors.js';
import type { Call } from '../redis/call.js';
import { PARTITION_COUNT } from '../redis/keys.js';
import type { Redis } from '../redis/redis.js';
import type { SessionAudit } from './audit.js';
import type { SweepLease } from './sweep-lease.js';
import type { DestroyPass, SweptSession } from './sweep-scripts.js';
import { countCauses, eachOf, PARTITIONS, type SweepStore } from './sweep-store.js';

export interface SweeperOptions {
  readonly store: SweepStore;
  readonly redis: Pick<Redis, 'clock' | 'isReady'>;
  readonly namespace: string;
  /** Undefined: the process sweeps whoever else does. */
  readonly lease: Pick<SweepLease, 'isMine' | 'giveUp'> | undefined;
  readonly audit: SessionAudit;
  /** Called in every turn of the process that sweeps. */
  readonly onTurn?: () => void;
  readonly logger: Logger;
  /** How long it takes to look at every partition once. */
  readonly roundMs?: number;
}

/** A session is told of so late at most on an idle system; each look costs Redis one command. */
const ROUND_MS = 6_000;
const TURN_EVERY_MS = 100;
/** How often a process that does not sweep asks itself whether it is to. */
const STAND_BY_MS = 500;
/** Of a turn, so that Redis has most of its time for others also when a million sessions run out at once. */
const WORK_MS = 50;
const COMMAND_MS = 2_000;
/** How long a partition that could not be swept is left alone. */
const BACK_OFF_MS = 1_000;
const CLOSE_MS = 1_000;
/** Of announced ends; more are found by the turns. */
const MAX_APPOINTMENTS = 10_000;
/** So that Redis's clock is there too. */
const APPOINTMENT_LATE_MS = 10;

/**
 * Ends the sessions that have run out, and what a DestroyAllSessions left that was cut off. Looks at the partitions one
 * after the other, and remembers when the first session of each is due: that costs a plain read, and the script runs only
 * where something is. What Redis did not do, because it was away or a slot was moving, comes in a later turn.
 */
export class Sweeper {
  /** How many sessions it ended. */
  endedCount = 0;
  /** How late it ended the latest session of the last turn that ended any. */
  lagMs = 0;
  /** By partition, on Redis's clock: when to come again without another look. */
  private readonly dueAtMs = new Float64Array(PARTITION_COUNT).fill(Number.POSITIVE_INFINITY);
  private readonly destroying = new Map<number, DestroyPass | undefined>();
  /** The partition to look at next, and how many looks are due since the last turn. */
  private position = 0;
  private looksDue = 0;
  private lookedAt = performance.now();
  private timer: NodeJS.Timeout | undefined;
  private readonly appointments = new Set<NodeJS.Timeout>();
  private turn: Promise<void> | undefined;
  private closed = false;

  constructor(private readonly options: SweeperOptions) {}

  start(): void {
    this.schedule(TURN_EVERY_MS * Math.random());
  }

  /**
   * Sweeps a partition once, whoever has the lease: where an end is announced, it is told of when it comes, and not in the
   * next round.
   */
  comeBack(partition: number, inMs: number): void {
    if (this.closed || this.appointments.size >= MAX_APPOINTMENTS) return;
    const timer = setTimeout(() => {
      this.appointments.delete(timer);
      void this.guarded(partition, async () => {
        const { ended, lagMs } = await this.options.store.sweep(partition, this.call());
        this.told(ended, 0, lagMs);
      });
    }, inMs + APPOINTMENT_LATE_MS).unref();
    this.appointments.add(timer);
  }

  /** Takes no further turn, and gives the lease up. */
  async close(): Promise<void> {
    this.closed = true;
    clearTimeout(this.timer);
    for (const appointment of this.appointments) clearTimeout(appointment);
    const done = (async () => {
      await this.turn;
      await this.options.lease?.giveUp();
    })();
    await Promise.race([done, sleep(CLOSE_MS, undefined, { ref: false })]);
  }

  private schedule(delayMs: number): void {
    if (this.closed) return;
    this.timer = setTimeout(() => {
      this.turn = this.takeTurn().then((nextMs) => {
        this.schedule(nextMs);
      });
    }, delayMs).unref();
  }

  /** Answers when to take the next one. */
  private async takeTurn(): Promise<number> {
    const { redis, lease } = this.options;
    try {
      if (redis.isReady && (lease === undefined || (await lease.isMine()))) {
        this.options.onTurn?.();
        await this.look();
        await this.work();
        return TURN_EVERY_MS;
      }
      // what is due by then is not known any more
      this.lookedAt = performance.now();
      this.dueAtMs.fill(Number.POSITIVE_INFINITY);
      this.destroying.clear();
    } catch (error) {
      this.options.logger.error({ err: error }, 'sweeper failed');
    }
    return STAND_BY_MS;
  }

  /** Looks at as many partitions as the time since the last turn is a part of a round. */
  private async look(): Promise<void> {
    const nowMs = performance.now();
    const { roundMs = ROUND_MS } = this.options;
    this.looksDue = Math.min(PARTITION_COUNT, this.looksDue + ((nowMs - this.lookedAt) * PARTITION_COUNT) / roundMs);
    this.lookedAt = nowMs;
    const looks: Promise<void>[] = [];
    for (; this.looksDue >= 1; this.looksDue--) {
      looks.push(this.lookAt(this.position));
      this.position = (this.position + 1) % PARTITION_COUNT;
    }
    await Promise.all(looks);
  }

  private async lookAt(partition: number): Promise<void> {
    // it is worked on already; its mark says when somebody else is to go on
    if (this.destroying.has(partition)) return;
    await this.guarded(partition, async () => {
      this.dueAtMs[partition] = await this.options.store.firstDueMs(partition, this.call());
    });
  }

  /** Goes through the partitions where something is due, the longest overdue first, until the time of the turn is over. */
  private async work(): Promise<void> {
    const nowMs = this.options.redis.clock.nowMs();
    const due = PARTITIONS.filter((partition) => this.dueAt(partition) <= nowMs);
    if (due.length === 0) return;
    due.sort((one, other) => this.dueAt(one) - this.dueAt(other));
    const ended: SweptSession[] = [];
    let destroyed = 0;
    let lagMs = 0;
    const stopAt = performance.now() + WORK_MS;
    await eachOf(due, async (partition) => {
      if (this.closed || performance.now() > stopAt) return undefined;
      await this.guarded(partition, async () => {
        if (this.destroying.has(partition)) {
          destroyed += await this.destroyAt(partition);
          return;
        }
        const swept = await this.options.store.sweep(partition, this.call());
        if (swept.destroying) this.destroying.set(partition, undefined);
        // by the clock of its master it may not be due yet: not again in this turn then
        else this.dueAtMs[partition] = swept.more ? nowMs : Math.max(swept.nextDueMs, nowMs + 1);
        ended.push(...swept.ended);
        lagMs = Math.max(lagMs, swept.lagMs);
      });
      return this.dueAt(partition) <= nowMs ? partition : undefined;
    });
    this.told(ended, destroyed, lagMs);
  }

  private told(ended: readonly SweptSession[], destroyed: number, lagMs: number): void {
    if (ended.length === 0 && destroyed === 0) return;
    this.endedCount += ended.length + destroyed;
    this.lagMs = lagMs;
    const sessionIds = ended.map(({ sessionId }) => sessionId);
    this.options.audit.record({ event: 'swept', causes: countCauses(ended), sessionIds, destroyed });
  }

  private async destroyAt(partition: number): Promise<number> {
    const { destroyed, more, pass } = await this.options.store.destroySome(
      partition,
      this.destroying.get(partition),
      this.call(),
    );
    if (more) this.destroying.set(partition, pass);
    else {
      this.destroying.delete(partition);
      this.dueAtMs[partition] = Number.POSITIVE_INFINITY;
    }
    return destroyed;
  }

  /** What cannot be done in one partition does not keep the others from being swept. */
  private async guarded(partition: number, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.destroying.delete(partition);
      this.dueAtMs[partition] = this.options.redis.clock.nowMs() + BACK_OFF_MS;
      // what Redis did is logged already
      if (!(error instanceof DomainError)) this.options.logger.error({ partition, err: error }, 'partition not swept');
    }
  }

  private dueAt(partition: number): number {
    return this.dueAtMs[partition] ?? Number.POSITIVE_INFINITY;
  }

  private call(): Call {
    return { namespace: this.options.namespace, deadlineAt: performance.now() + COMMAND_MS, ended: false };
  }
}
