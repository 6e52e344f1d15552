import { setTimeout as delay } from 'node:timers/promises';
import type { OutageLog } from './outage-log.js';

export interface RecheckOptions {
  /** Looks at one session; what it throws is tried again. */
  readonly check: (sessionId: string) => Promise<void>;
  readonly outage: OutageLog;
}

const AT_ONCE = 64;
/** Before what failed is tried again, doubled each time. */
const BASE_DELAY_MS = 50;
const MAX_DELAY_MS = 2_000;

/** Looks at sessions anew, some at a time, until each was looked at after it was asked for. */
export class Recheck {
  private readonly due = new Set<string>();
  private isRunning = false;
  private readonly closing = new AbortController();

  constructor(private readonly options: RecheckOptions) {}

  add(sessionIds: readonly string[]): void {
    for (const sessionId of sessionIds) this.due.add(sessionId);
    if (!this.isRunning) void this.run();
  }

  close(): void {
    this.due.clear();
    this.closing.abort();
  }

  private async run(): Promise<void> {
    this.isRunning = true;
    for (let failures = 0; this.due.size > 0;) {
      const batch = [...this.due].slice(0, AT_ONCE);
      // one that is asked for again from now on is looked at again
      for (const sessionId of batch) this.due.delete(sessionId);
      const failed = (await Promise.all(batch.map((sessionId) => this.look(sessionId)))).filter(
        (id) => id !== undefined,
      );
      if (this.closing.signal.aborted) break;
      for (const sessionId of failed) this.due.add(sessionId);
      failures = failed.length > 0 ? failures + 1 : 0;
      if (failures > 0) {
        const delayMs = Math.min(BASE_DELAY_MS * 2 ** failures, MAX_DELAY_MS);
        await delay(delayMs, undefined, { signal: this.closing.signal }).catch(() => undefined);
      }
    }
    this.isRunning = false;
  }

  /** Answers the session where it could not be looked at. */
  private async look(sessionId: string): Promise<string | undefined> {
    try {
      await this.options.check(sessionId);
      this.options.outage.succeeded();
      return undefined;
    } catch (error) {
      this.options.outage.failed(error);
      return sessionId;
    }
  }
}
