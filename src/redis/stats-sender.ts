import { randomBytes } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { DomainError } from '../errors.js';
import type { Call } from './call.js';
import type { StatsKeys } from './keys.js';
import type { Redis } from './redis.js';
import { addStatsScript, partsArgument } from './stats-scripts.js';

/** How often what was counted goes to Redis: about, so that a fleet does not send in step. */
const SEND_EVERY_MS = 2_000;
const SEND_DEADLINE_MS = 2_000;
/** How long a service that goes away may take for the last of it. */
const CLOSE_MS = 1_000;
/** Of the names that a process met since the last time, so many of those it met most are sent. */
const SENT_HOT_NAMES = 64;
const PROCESS_ID_BYTES = 9;

/** What this process counted of one namespace since it started. */
export interface ProcessCounts {
  /** By place; none ever falls. */
  readonly values: Float64Array;
  /** What of it belongs to parts of the namespace, by names without spaces and colons; whatever is counted here is in `values` too. */
  readonly parts?: Iterable<readonly [name: string, values: Float64Array]>;
  /** On the clock of `performance.now()`. */
  readonly beganAt: number;
  /** How much of something goes on now; 0 where that is not counted. */
  readonly ongoing: number;
  /** The names that were met most since the last time, and how often; begins anew. */
  takeHot(limit: number): readonly { readonly name: string; readonly count: number }[];
}

export interface StatsSenderOptions {
  readonly redis: Redis;
  readonly keysOf: (namespace: string) => StatsKeys;
  /** Of every namespace that something was counted of. */
  readonly all: () => Iterable<[namespace: string, counts: ProcessCounts]>;
  readonly logger: Logger;
}

/**
 * Adds what this process counted to the statistics of its namespaces in Redis, every two seconds. What a process did not
 * send when it is killed is lost; what it could not send while Redis was away comes later.
 */
export class StatsSender {
  private readonly process = randomBytes(PROCESS_ID_BYTES).toString('base64url');
  private readonly unsent = new Map<string, Unsent>();
  private timer: NodeJS.Timeout | undefined;
  private closed = false;
  private sending: Promise<void> | undefined;
  /** Shared by all who want to have sent what was counted while `sending` was on its way. */
  private sendingNext: Promise<void> | undefined;

  constructor(private readonly options: StatsSenderOptions) {}

  start(): void {
    if (this.closed) return;
    const delayMs = SEND_EVERY_MS * (0.75 + Math.random() / 2);
    this.timer = setTimeout(() => {
      void this.sendIfReady().then(() => {
        this.start();
      });
    }, delayMs).unref();
  }

  /** Sends the last of it, as far as Redis takes it now. */
  async close(): Promise<void> {
    this.closed = true;
    clearTimeout(this.timer);
    await Promise.race([this.sendIfReady(), sleep(CLOSE_MS, undefined, { ref: false })]);
  }

  private async sendIfReady(): Promise<void> {
    if (this.options.redis.isReady) await this.send();
  }

  /** Sends what was counted before; never fails: what did not arrive is sent the next time. */
  send(): Promise<void> {
    if (this.sending === undefined) {
      this.sending = this.sendAll().finally(() => {
        this.sending = undefined;
      });
      return this.sending;
    }
    this.sendingNext ??= this.sending.then(() => {
      this.sendingNext = undefined;
      return this.send();
    });
    return this.sendingNext;
  }

  private async sendAll(): Promise<void> {
    await Promise.all([...this.options.all()].map(([namespace, counts]) => this.sendOf(namespace, counts)));
  }

  private async sendOf(namespace: string, counts: ProcessCounts): Promise<void> {
    const unsent = this.unsent.get(namespace) ?? new Unsent(counts);
    this.unsent.set(namespace, unsent);
    try {
      // one that had no answer goes first, and as it was
      if (unsent.isWaiting) await this.sendBatch(namespace, unsent);
      await this.sendBatch(namespace, unsent);
    } catch (error) {
      // what Redis did is logged already
      if (!(error instanceof DomainError)) this.options.logger.error({ err: error }, 'statistics not added');
    }
  }

  private async sendBatch(namespace: string, unsent: Unsent): Promise<void> {
    const batch = unsent.batch();
    if (batch === undefined) return;
    const { number, gatheredMs, counts, ongoing, parts, hot } = batch;
    const { redis, keysOf } = this.options;
    const call: Call = { namespace, deadlineAt: performance.now() + SEND_DEADLINE_MS, ended: false };
    await redis.run(
      addStatsScript.bind(keysOf(namespace), {
        process: this.process,
        batch: String(number),
        gatheredMs: String(gatheredMs),
        counts,
        ongoing: String(ongoing),
        parts,
        '...hot': hot,
      }),
      call,
    );
    unsent.added();
  }
}

/** An addition as it is sent, again and again until it was answered. */
interface Batch {
  readonly number: number;
  readonly gatheredMs: number;
  readonly counts: string;
  readonly ongoing: number;
  readonly parts: string;
  readonly hot: readonly string[];
}

/** What Redis does not know, for sure, of the counts of a namespace. */
class Unsent {
  /** What all batches together have. */
  private readonly inBatches: Float64Array;
  /** The same of each part, by its counters: a part that is forgotten and comes again has others. */
  private readonly partsInBatches = new WeakMap<Float64Array, Float64Array>();
  private waiting: Batch | undefined;
  private lastNumber = 0;
  private lastOngoing = 0;
  /** Nothing that is in no batch was counted before. */
  private emptyAt: number;

  constructor(private readonly counts: ProcessCounts) {
    this.emptyAt = counts.beganAt;
    this.inBatches = new Float64Array(counts.values.length);
  }

  /** Whether a batch was sent, or is to be, and not answered. */
  get isWaiting(): boolean {
    return this.waiting !== undefined;
  }

  /** The one that waits, or a new one with everything that is in none; undefined: there is nothing to tell. */
  batch(): Batch | undefined {
    this.waiting ??= this.newBatch();
    return this.waiting;
  }

  added(): void {
    this.waiting = undefined;
  }

  private newBatch(): Batch | undefined {
    const { values, ongoing } = this.counts;
    const nowMs = performance.now();
    const gatheredMs = Math.round(nowMs - this.emptyAt);
    this.emptyAt = nowMs;
    const since = values.map((value, place) => value - (this.inBatches[place] ?? 0));
    // what goes on is told again and again: in Redis it is forgotten, so that a dead process does not count for ever
    if (since.every((count) => count === 0) && ongoing === 0 && this.lastOngoing === 0) return undefined;
    this.inBatches.set(values);
    this.lastOngoing = ongoing;
    return {
      number: ++this.lastNumber,
      gatheredMs,
      counts: since.join(','),
      ongoing,
      parts: partsArgument(this.newOfParts()),
      hot: this.counts.takeHot(SENT_HOT_NAMES).flatMap(({ name, count }) => [name, String(count)]),
    };
  }

  /** What is in no batch, of the parts that have any of it. */
  private *newOfParts(): Generator<[name: string, since: Float64Array]> {
    for (const [name, values] of this.counts.parts ?? []) {
      const before = this.partsInBatches.get(values);
      const since = values.map((value, place) => value - (before?.[place] ?? 0));
      if (since.every((count) => count === 0)) continue;
      this.partsInBatches.set(values, values.slice());
      yield [name, since];
    }
  }
}
