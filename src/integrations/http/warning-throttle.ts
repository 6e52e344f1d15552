import { performance } from 'node:perf_hooks';
import type { Logger } from '../../client/index.js';

/** An outage concerns every request; it is told of once in so long. */
const EVERY_MS = 10_000;

/** Where nobody gave a logger: an outage that lets everybody in must not be silent. */
const WARNINGS: Pick<Logger, 'warn'> = {
  warn: (_details, message) => {
    process.emitWarning(message, 'ShardkeepWarning');
  },
};

/** Warns of what fails for request after request, once in a while, with how many there were. */
export class WarningThrottle {
  private toldAt = -Infinity;
  private untold = 0;

  constructor(private readonly logger: Pick<Logger, 'warn'> = WARNINGS) {}

  tell(error: unknown, message: string): void {
    this.untold++;
    const now = performance.now();
    if (now - this.toldAt < EVERY_MS) return;
    this.logger.warn({ err: error, requests: this.untold }, message);
    this.toldAt = now;
    this.untold = 0;
  }
}
