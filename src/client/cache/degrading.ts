import { status as Code } from '@grpc/grpc-js';
import {
  circuitBreaker,
  CircuitState,
  ConsecutiveBreaker,
  ExponentialBackoff,
  handleWhen,
  isBrokenCircuitError,
} from 'cockatiel';
import { shardkeepError, ShardkeepError } from '../errors.js';
import type { Logger } from '../logger.js';

export interface CircuitOptions {
  /** Calls in a row without an answer of a service with a Redis, after which it is not asked; 5 by default. */
  readonly failures?: number;
  /** How long it is not asked at first, doubled up to `maxOpenMs` while a try fails; 250 by default. */
  readonly openMs?: number;
  /** 5,000 by default. */
  readonly maxOpenMs?: number;
}

export interface DegradingOptions {
  /** What becomes of a read that the service, or its Redis, is away for: a miss, or the error. `miss` by default. */
  readonly onReadError?: 'miss' | 'throw';
  /** What becomes of a write or an invalidation that the service is away for: a line in the log, or the error. `log` by default. */
  readonly onWriteError?: 'log' | 'throw';
  readonly circuit?: CircuitOptions;
}

/** Whether the service, or the Redis behind it, is away or overwhelmed; what the caller did wrong is not. */
export function isOutage(error: unknown): error is ShardkeepError {
  return error instanceof ShardkeepError && OUTAGES.has(error.code);
}

const OUTAGES: ReadonlySet<Code> = new Set([
  Code.UNAVAILABLE,
  Code.DEADLINE_EXCEEDED,
  Code.RESOURCE_EXHAUSTED,
  Code.INTERNAL,
  Code.UNKNOWN,
]);

/** One line a kind and second: an outage comes with thousands of calls a second. */
const LOG_EVERY_MS = 1_000;

interface Said {
  readonly at: number;
  suppressed: number;
}

/** A cache that is away is slower, not down: reads miss, writes are logged, and behind an open circuit neither costs time. */
export class Degrading {
  private readonly circuit;
  private readonly said = new Map<string, Said>();

  constructor(
    private readonly options: DegradingOptions,
    private readonly logger: Logger,
    /** Aborts when the client closes: from then on nothing is made up any more. */
    private readonly closing: AbortSignal,
  ) {
    const { failures = 5, openMs = 250, maxOpenMs = 5_000 } = options.circuit ?? {};
    this.circuit = circuitBreaker(handleWhen(isSilence), {
      breaker: new ConsecutiveBreaker(failures),
      halfOpenAfter: new ExponentialBackoff({ initialDelay: openMs, maxDelay: maxOpenMs }),
    });
    this.circuit.onBreak(() => {
      this.logger.warn({}, 'the cache is away: loaders run, nothing is kept');
    });
    this.circuit.onReset(() => {
      this.logger.warn({}, 'the cache is back');
    });
  }

  /** `open`: calls fail at once; `half-open`: one call finds out whether the cache is back. */
  get circuitState(): 'closed' | 'open' | 'half-open' {
    const { state } = this.circuit;
    if (state === CircuitState.HalfOpen) return 'half-open';
    return state === CircuitState.Closed ? 'closed' : 'open';
  }

  /** Makes the call, unless the circuit is open: then it fails with UnavailableError at once. */
  async ask<Answer>(call: () => Promise<Answer>): Promise<Answer> {
    // while one call finds out, the others are not to wait for its timeout
    if (this.circuit.state === CircuitState.HalfOpen) throw circuitOpen();
    try {
      return await this.circuit.execute(call);
    } catch (error) {
      throw isBrokenCircuitError(error) ? circuitOpen() : error;
    }
  }

  /** For a read, where `miss` is as good an answer as an error. */
  async read<Answer>(what: string, miss: Answer, call: () => Promise<Answer>): Promise<Answer> {
    try {
      return await this.ask(call);
    } catch (error) {
      if (this.options.onReadError === 'throw' || this.closing.aborted || !isOutage(error)) throw error;
      this.say('warn', what, error);
      return miss;
    }
  }

  /** For a write that may be lost; `lost` is its answer then. */
  async write<Answer>(what: string, lost: Answer, call: () => Promise<Answer>): Promise<Answer> {
    try {
      return await this.ask(call);
    } catch (error) {
      return this.lose(what, lost, error);
    }
  }

  /** The answer of a write that failed so, where it may be lost; throws the error where it may not. */
  lose<Answer>(what: string, lost: Answer, error: unknown): Answer {
    if (this.options.onWriteError === 'throw' || this.closing.aborted || !isOutage(error)) throw error;
    this.say('error', what, error);
    return lost;
  }

  /** Logs what went wrong, at most once a second for each kind. */
  say(level: 'warn' | 'error', what: string, error: unknown): void {
    const now = Date.now();
    const last = this.said.get(what);
    if (last !== undefined && now >= last.at && now - last.at < LOG_EVERY_MS) {
      last.suppressed++;
      return;
    }
    this.said.set(what, { at: now, suppressed: 0 });
    this.logger[level]({ err: error, suppressed: last?.suppressed ?? 0 }, what);
  }
}

/** What opens the circuit: nobody answers. A service that refuses by overload does answer. */
function isSilence(error: unknown): boolean {
  return error instanceof ShardkeepError && (error.code === Code.UNAVAILABLE || error.code === Code.DEADLINE_EXCEEDED);
}

function circuitOpen(): ShardkeepError {
  return shardkeepError(Code.UNAVAILABLE, 'the circuit is open: the cache was away a moment ago');
}
