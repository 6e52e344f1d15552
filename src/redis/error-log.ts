import type { Logger } from 'pino';
import { replyCode } from './errors.js';
import { isRefused, whatToMend } from './refusals.js';

const QUIET_MS = 1_000;

/** Logs every kind of Redis error, at most one line a second a kind, with the count of those not logged in between. */
export class ErrorLog {
  private readonly kinds = new Map<string, { quietUntil: number; suppressed: number }>();

  constructor(private readonly logger: Logger) {}

  record(operation: string, error: unknown): void {
    const code = replyCode(error) || (error instanceof Error ? error.constructor.name : typeof error);
    const kind = `${operation} ${code}`;
    const now = performance.now();
    const entry = this.kinds.get(kind) ?? { quietUntil: 0, suppressed: 0 };
    this.kinds.set(kind, entry);
    if (now < entry.quietUntil) {
      entry.suppressed++;
      return;
    }
    const { suppressed } = entry;
    if (isRefused(error)) {
      // later versions of Redis name the key
      const mend = whatToMend('NOPERM');
      this.logger.error({ operation, code: 'NOPERM', mend, suppressed }, 'redis command refused');
    } else {
      // the messages of other replies to the commands sent here name no value
      const reason = error instanceof Error ? error.message : String(error);
      this.logger.warn({ operation, code, reason, suppressed }, 'redis command failed');
    }
    entry.quietUntil = now + QUIET_MS;
    entry.suppressed = 0;
  }
}
