import { replyCode } from './errors.js';

const BEATS = 5;
/** So that a connection with a long timeout is not idle for the sockets' own one. */
const MAX_INTERVAL_MS = 500;

/** A node that says this answers, and serves nothing. */
const NOT_SERVING: ReadonlySet<string> = new Set(['BUSY', 'LOADING', 'MASTERDOWN']);

/**
 * Finds out that a node is silent: it is sent a PING a beat, also while others are on their way, and when none was answered
 * for `timeoutMs` `onSilent` is called, once. Replies come in order, so a node that works off a long queue answers pings
 * all the time and counts as sound, however long they take. Time is counted in beats: while this process itself
 * stands still, at most one passes.
 */
export class Heartbeat {
  private readonly timer: NodeJS.Timeout;
  private silentBeats = 0;

  constructor(
    timeoutMs: number,
    private readonly ping: () => Promise<unknown>,
    private readonly onSilent: () => void,
  ) {
    const intervalMs = Math.min(MAX_INTERVAL_MS, Math.ceil(timeoutMs / BEATS));
    const allowed = Math.ceil(timeoutMs / intervalMs);
    this.timer = setInterval(() => {
      this.beat(allowed);
    }, intervalMs).unref();
  }

  stop(): void {
    clearInterval(this.timer);
  }

  private beat(allowed: number): void {
    if (this.silentBeats >= allowed) {
      this.stop();
      this.onSilent();
      return;
    }
    this.silentBeats++;
    this.ping().then(
      () => {
        this.silentBeats = 0;
      },
      (error: unknown) => {
        const code = replyCode(error);
        if (code !== '' && !NOT_SERVING.has(code)) this.silentBeats = 0;
      },
    );
  }
}
