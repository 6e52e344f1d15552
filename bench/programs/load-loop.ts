import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import { LatencyHistogram } from '../harness/latency-histogram.js';

/** One call from its start to its answer. */
export type Operation = () => Promise<unknown>;

export interface Measured {
  readonly operations: number;
  readonly durationMs: number;
}

interface SteadyCalls {
  readonly calls: readonly Promise<void>[];
  readonly startedAt: number;
  readonly timer: NodeJS.Timeout;
}

/** Runs operations and counts them: closed loops with so many in flight, or open ones by a schedule. */
export class LoadLoop {
  readonly latencies = new LatencyHistogram();
  private running = false;
  private completed = 0;
  private loops: Promise<void>[] = [];
  private steady: SteadyCalls | undefined;

  constructor(
    private readonly operations: readonly Operation[],
    private readonly options: { readonly latencies: boolean },
  ) {}

  start(inFlight: number): void {
    this.running = true;
    this.loops = Array.from({ length: inFlight }, (_, index) => {
      const operation = this.operations[index % this.operations.length];
      if (operation === undefined) throw new Error('nothing to run');
      return this.options.latencies ? this.runTimed(operation) : this.run(operation);
    });
  }

  async measure(durationMs: number): Promise<Measured> {
    this.completed = 0;
    this.latencies.reset();
    const startedAt = performance.now();
    await sleep(durationMs);
    return { operations: this.completed, durationMs: performance.now() - startedAt };
  }

  async stop(): Promise<void> {
    this.running = false;
    await Promise.all(this.loops);
  }

  /**
   * Sends call i at i/rate seconds and counts its latency from that time, so that a call that waits behind a slow one
   * counts its wait. It looks at the clock in every turn of the event loop: a timer would be late by up to 1 ms, which
   * is as much as is to be measured.
   */
  async pace(ratePerSecond: number, durationMs: number): Promise<Measured> {
    const [operation] = this.operations;
    if (operation === undefined) throw new Error('nothing to run');
    this.latencies.reset();
    const count = Math.floor((ratePerSecond * durationMs) / 1_000);
    const startedAt = performance.now();
    const calls: Promise<void>[] = [];
    while (calls.length < count) {
      const now = performance.now();
      for (;;) {
        const scheduledAt = startedAt + (calls.length * 1_000) / ratePerSecond;
        if (scheduledAt > now || calls.length === count) break;
        calls.push(this.runSince(scheduledAt, operation));
      }
      await nextTurn();
    }
    await Promise.all(calls);
    return { operations: count, durationMs: performance.now() - startedAt };
  }

  /**
   * Sends calls at a rate until `end`, by a timer, so that the processor is left to the work that they are sent beside. A
   * call's latency counts from when it was sent: that the timer was late is not what the others are asked.
   */
  begin(ratePerSecond: number): void {
    const [operation] = this.operations;
    if (operation === undefined) throw new Error('nothing to run');
    this.latencies.reset();
    const startedAt = performance.now();
    const calls: Promise<void>[] = [];
    const timer = setInterval(() => {
      const now = performance.now();
      const due = ((now - startedAt) * ratePerSecond) / 1_000;
      while (calls.length < due) calls.push(this.runSince(now, operation));
    }, 1);
    this.steady = { calls, startedAt, timer };
  }

  async end(): Promise<Measured> {
    if (this.steady === undefined) throw new Error('nothing was begun');
    const { calls, startedAt, timer } = this.steady;
    clearInterval(timer);
    await Promise.all(calls);
    return { operations: calls.length, durationMs: performance.now() - startedAt };
  }

  private async run(operation: Operation): Promise<void> {
    while (this.running) {
      await operation();
      this.completed++;
    }
  }

  private async runTimed(operation: Operation): Promise<void> {
    while (this.running) {
      const startedAt = performance.now();
      await operation();
      this.latencies.record(performance.now() - startedAt);
      this.completed++;
    }
  }

  private async runSince(scheduledAt: number, operation: Operation): Promise<void> {
    await operation();
    this.latencies.record(performance.now() - scheduledAt);
  }
}
