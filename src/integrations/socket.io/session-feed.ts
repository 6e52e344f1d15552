import { setTimeout as delay } from 'node:timers/promises';
import type { Logger, ResyncEvent, SessionEvent, Sessions, SessionWatch } from '../../client/index.js';

export interface SessionFeedOptions {
  readonly sessions: Sessions;
  readonly logger: Logger;
  readonly onEvent: (event: SessionEvent | ResyncEvent) => void;
}

/** Before a watch that was refused is tried again, doubled each time. */
const BASE_DELAY_MS = 1_000;
const MAX_DELAY_MS = 30_000;

/**
 * All that becomes of sessions, for as long as the client is open. A watch goes on by itself after an outage and is told what
 * happened in it; one that was refused, as with a credential that ran out, is tried again behind the last event.
 */
export class SessionFeed {
  private watch: SessionWatch;
  /** Nothing is watched until the watch is tried again. */
  private isRefused = false;
  private isOver = false;
  private readonly closing = new AbortController();

  constructor(private readonly options: SessionFeedOptions) {
    this.watch = this.open(undefined);
    void this.run();
  }

  /** Resolves when what happens from then on is told, perhaps late; rejects where that may not be so within the time. */
  async untilReady(timeoutMs: number): Promise<void> {
    if (this.isOver || this.isRefused) throw new Error('sessions are not watched');
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(new Error('the watch of sessions has not begun'));
      }, timeoutMs);
    });
    try {
      await Promise.race([this.watch.ready, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  close(): void {
    this.isOver = true;
    this.closing.abort();
  }

  private open(cursor: string | undefined): SessionWatch {
    return this.options.sessions.watchSessions({ all: true, cursor }, { signal: this.closing.signal });
  }

  private async run(): Promise<void> {
    for (let failures = 0; !this.isOver; failures++) {
      try {
        for await (const event of this.watch) {
          failures = 0;
          this.options.onEvent(event);
        }
        // by this, or with its client
        this.isOver = true;
      } catch (error) {
        this.options.logger.error({ err: error }, 'sessions are not watched: handshakes are refused');
        this.isRefused = true;
        const delayMs = Math.min(BASE_DELAY_MS * 2 ** failures, MAX_DELAY_MS);
        await delay(delayMs, undefined, { signal: this.closing.signal }).catch(() => undefined);
        if (this.closing.signal.aborted) return;
        this.watch = this.open(this.watch.cursor);
        this.isRefused = false;
      }
    }
  }
}
