import { types } from 'node:util';
import type { Logger } from 'pino';
import { replyCode } from './errors.js';
import { whatToMend } from './refusals.js';

// instanceof would miss the errors of another realm, as a test runner's
const { isNativeError } = types;

const QUIET_MS = 30_000;

interface Kind {
  quietUntil: number;
  suppressed: number;
}

/**
 * Logs why a Redis is away: each kind of error once in an outage of an address, and then every 30 s at most, with the count
 * of those not logged in between. A connection is tried again for as long as the outage lasts, and each try fails alike.
 * What lasts until somebody mends it is an error and says what to mend; the rest are warnings.
 */
export class OutageLog {
  private readonly outages = new Map<string, Map<string, Kind>>();

  constructor(private readonly logger: Logger) {}

  failed(address: string, error: unknown, message: string): void {
    const code = codeOf(error);
    const kinds = this.outages.get(address) ?? new Map<string, Kind>();
    this.outages.set(address, kinds);
    const kind = kinds.get(`${message} ${code}`) ?? { quietUntil: 0, suppressed: 0 };
    kinds.set(`${message} ${code}`, kind);
    const now = performance.now();
    if (now < kind.quietUntil) {
      kind.suppressed++;
      return;
    }
    // no stack: it shows the event loop and node-redis, whatever the reason
    const about = { address, code, reason: reasonOf(error), suppressed: kind.suppressed };
    const mend = whatToMend(code);
    if (mend === undefined) this.logger.warn(about, message);
    else this.logger.error({ ...about, mend }, message);
    kind.quietUntil = now + QUIET_MS;
    kind.suppressed = 0;
  }

  /** The outage of an address is over; the next one is told again. */
  connected(address: string): void {
    this.outages.delete(address);
  }
}

function codeOf(error: unknown): string {
  const reply = replyCode(error);
  if (reply !== '') return reply;
  if (!isNativeError(error)) return typeof error;
  return 'code' in error && typeof error.code === 'string' ? error.code : error.constructor.name;
}

/** A name of several addresses fails with the errors of all, and without a message of its own. */
function reasonOf(error: unknown): string {
  if (!isNativeError(error)) return String(error);
  return 'errors' in error && Array.isArray(error.errors) ? error.errors.map(reasonOf).join('; ') : error.message;
}
