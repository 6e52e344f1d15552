import type { Logger } from 'pino';
import { LogLimit } from '../log-limit.js';

const MAX_LINES_A_SECOND = 5;

/** A slow operation, as far as a log may tell: neither its keys nor its arguments. */
export interface SlowOperation {
  readonly script: string;
  readonly durationMs: number;
  readonly namespace: string;
  /** The RPC that it was for; undefined where several calls shared it, or it was for none. */
  readonly rpc: string | undefined;
}

/**
 * Logs the slow operations of one Redis, a few a second of each script, with the count of the others. Each by itself: what
 * works in the background in many small steps would leave no room for what callers wait for.
 */
export class SlowLog {
  private readonly limits = new Map<string, LogLimit>();

  constructor(private readonly logger: Logger) {}

  record(operation: SlowOperation): void {
    if (!this.limitOf(operation.script).admits()) return;
    const { durationMs, ...rest } = operation;
    this.logger.warn({ ...rest, durationMs: Math.round(durationMs) }, 'slow redis operation');
  }

  private limitOf(script: string): LogLimit {
    const known = this.limits.get(script);
    if (known !== undefined) return known;
    const limit = new LogLimit(MAX_LINES_A_SECOND, (suppressed) => {
      this.logger.warn({ script, suppressed }, 'more slow redis operations');
    });
    this.limits.set(script, limit);
    return limit;
  }
}
