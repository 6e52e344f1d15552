import { performance } from 'node:perf_hooks';
import { status as Code } from '@grpc/grpc-js';
import { shardkeepError } from '../errors.js';
import { failNextTurn } from '../event-loop.js';

export interface CircuitOptions {
  /** Calls in a row without an answer of a service with a Redis, after which it is not asked; 5 by default. */
  readonly failures?: number;
  /** How long it is not asked at first, doubled up to `maxOpenMs` while a try fails, up to half of it less at random; 250 by default. */
  readonly openMs?: number;
  /** 5,000 by default. */
  readonly maxOpenMs?: number;
}

/** What a call that failed tells of the service. */
export type Verdict = 'answers' | 'silent' | 'unknown';

export interface CircuitEvents {
  onOpen(): void;
  onClosed(): void;
}

/**
 * Stops asking a service that is silent. After a while one call finds out whether it is back; one that ends without having
 * found out leaves that to the next.
 */
export class Circuit {
  private readonly maxFailures: number;
  private readonly minOpenMs: number;
  private readonly maxOpenMs: number;
  /** Silences in a row; Infinity: it is open. */
  private failures = 0;
  private openMs = 0;
  /** When a call may find out, on the clock of `performance.now()`. */
  private askAgainAt = 0;
  private isProbed = false;

  constructor(
    options: CircuitOptions,
    private readonly events: CircuitEvents,
  ) {
    this.maxFailures = options.failures ?? 5;
    this.minOpenMs = options.openMs ?? 250;
    this.maxOpenMs = options.maxOpenMs ?? 5_000;
  }

  get state(): 'closed' | 'open' | 'half-open' {
    if (this.failures !== Infinity) return 'closed';
    return this.isProbed ? 'half-open' : 'open';
  }

  /** The service may be back: the next call finds out, whenever that was due. */
  askAgain(): void {
    this.askAgainAt = 0;
  }

  /** Makes the call; while the circuit is open it fails with UnavailableError, in the next turn of the event loop. */
  async run<Answer>(call: () => Promise<Answer>, verdictOf: (error: unknown) => Verdict): Promise<Answer> {
    const isProbe = this.failures === Infinity;
    if (isProbe) {
      if (this.isProbed || performance.now() < this.askAgainAt) return failNextTurn(circuitOpen());
      this.isProbed = true;
    }
    try {
      const answer = await call();
      this.heard(isProbe);
      return answer;
    } catch (error) {
      const verdict = verdictOf(error);
      if (verdict === 'answers') this.heard(isProbe);
      else if (verdict === 'silent') this.missed(isProbe);
      throw error;
    } finally {
      if (isProbe) this.isProbed = false;
    }
  }

  /** An answer to what was asked before the circuit opened is none of now. */
  private heard(isProbe: boolean): void {
    if (this.failures === Infinity && !isProbe) return;
    this.failures = 0;
    if (isProbe) this.events.onClosed();
  }

  private missed(isProbe: boolean): void {
    if (isProbe) {
      this.stayOpen(Math.min(this.openMs * 2, this.maxOpenMs));
      return;
    }
    if (this.failures === Infinity || ++this.failures < this.maxFailures) return;
    this.failures = Infinity;
    this.stayOpen(Math.min(this.minOpenMs, this.maxOpenMs));
    this.events.onOpen();
  }

  private stayOpen(openMs: number): void {
    this.openMs = openMs;
    // clients that lost a service together do not come back together
    this.askAgainAt = performance.now() + openMs / 2 + Math.random() * (openMs / 2);
  }
}

function circuitOpen(): Error {
  return shardkeepError(Code.UNAVAILABLE, 'the circuit is open: the cache was away a moment ago');
}
