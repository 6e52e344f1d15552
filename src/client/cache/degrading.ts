import { status as Code } from '@grpc/grpc-js';
import { ShardkeepError } from '../errors.js';
import type { Logger } from '../logger.js';
import type { CallOptions } from '../transport/method.js';
import { Circuit, type CircuitOptions, type Verdict } from './circuit.js';

export interface DegradingOptions {
  /** What becomes of a read that the service, or its Redis, is away for: a miss, or the error. `miss` by default. */
  readonly onReadError?: 'miss' | 'throw';
  /** What becomes of a write or an invalidation that the service is away for: a line in the log, or the error. `log` by default. */
  readonly onWriteError?: 'log' | 'throw';
  /**
   * When the service is not asked for a while. What counts is silence: UNAVAILABLE, and no answer within the client's own
   * `timeoutMs`. A call that was given up, or given less time than that, tells nothing of the service, and does not count.
   */
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
  private readonly circuit: Circuit;
  private readonly said = new Map<string, Said>();

  constructor(
    private readonly options: DegradingOptions,
    private readonly logger: Logger,
    /** Aborts when the client closes: from then on nothing is made up any more. */
    private readonly closing: AbortSignal,
    /** How long a call waits that names no timeout. */
    private readonly defaultTimeoutMs: number,
  ) {
    this.circuit = new Circuit(options.circuit ?? {}, {
      onOpen: () => {
        if (!closing.aborted) this.logger.warn({}, 'the cache is away: loaders run, nothing is kept');
      },
      onClosed: () => {
        this.logger.warn({}, 'the cache is back');
      },
    });
  }

  /** `open`: calls fail at once; `half-open`: one call finds out whether the cache is back. */
  get circuitState(): 'closed' | 'open' | 'half-open' {
    return this.circuit.state;
  }

  /** Makes the call, which has the `timeoutMs` of the options, unless the circuit is open: then it fails with UnavailableError. */
  ask<Answer>(call: () => Promise<Answer>, { timeoutMs }: CallOptions = {}): Promise<Answer> {
    const isHurried = timeoutMs !== undefined && timeoutMs < this.defaultTimeoutMs;
    return this.circuit.run(call, isHurried ? verdictOnHurried : verdictOn);
  }

  /** For a read, where `miss` is as good an answer as an error. */
  async read<Answer>(what: string, miss: Answer, options: CallOptions, call: () => Promise<Answer>): Promise<Answer> {
    try {
      return await this.ask(call, options);
    } catch (error) {
      if (this.options.onReadError === 'throw' || this.closing.aborted || !isOutage(error)) throw error;
      this.say('warn', what, error);
      return miss;
    }
  }

  /** For a write that may be lost; `lost` is its answer then. */
  async write<Answer>(what: string, lost: Answer, options: CallOptions, call: () => Promise<Answer>): Promise<Answer> {
    try {
      return await this.ask(call, options);
    } catch (error) {
      return this.lose(what, lost, error);
    }
  }

  /** The answer of a write that failed so, where it may be lost; throws the error where it may not. */
  lose<Answer>(what: string, lost: Answer, error: unknown): Answer {
    if (!this.mayLose(error)) throw error;
    this.say('error', what, error);
    return lost;
  }

  /** Whether a write that failed so may be lost; else the caller is told. */
  mayLose(error: unknown): error is ShardkeepError {
    return this.options.onWriteError !== 'throw' && !this.closing.aborted && isOutage(error);
  }

  /** The service may be back: the next call finds out. */
  askAgain(): void {
    this.circuit.askAgain();
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
function verdictOn(error: unknown): Verdict {
  if (!(error instanceof ShardkeepError)) return 'unknown';
  switch (error.code) {
    case Code.UNAVAILABLE:
    case Code.DEADLINE_EXCEEDED:
      return 'silent';
    // the caller's own signal, or a request that was not even sent
    case Code.CANCELLED:
    case Code.INVALID_ARGUMENT:
      return 'unknown';
    default:
      return 'answers';
  }
}

/** Of a call that was given less time than a service may take. */
function verdictOnHurried(error: unknown): Verdict {
  if (error instanceof ShardkeepError && error.code === Code.DEADLINE_EXCEEDED) return 'unknown';
  return verdictOn(error);
}
