import { performance } from 'node:perf_hooks';
import type { Logger } from '../../client/index.js';
import { loggerOf } from './logger.js';

/** An outage concerns every request; it is told of once in so long. */
const EVERY_MS = 10_000;

/** Warns of what fails for request after request, once in a while, with how many there were. */
export class WarningThrottle {
  private readonly logger: Pick<Logger, 'warn'>;
  private readonly everyMs: number;
  private toldAt = -Infinity;
  private untold = 0;

  constructor(logger: Pick<Logger, 'warn'> | false | undefined) {
    this.logger = loggerOf(logger);
    // warnings of the process are rarer still, and counted where that is seen to
    this.everyMs = logger === undefined ? 0 : EVERY_MS;
  }

  tell(error: unknown, message: string): void {
    this.untold++;
    const now = performance.now();
    if (now - this.toldAt < this.everyMs) return;
    this.logger.warn({ err: error, requests: this.untold }, message);
    this.toldAt = now;
    this.untold = 0;
  }
}
