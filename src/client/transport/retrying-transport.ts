import { performance } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { ShardkeepError, UnavailableError } from '../errors.js';
import type { CallOptions, ClientMethod } from './method.js';
import { RETRY_SAFE } from './retry-safe.js';
import { isTimeout, noTimeout } from './timeout.js';
import type { Transport } from './transport.js';

export interface RetryOptions {
  /** With the first; 4 by default, 1 for none. */
  readonly maxAttempts?: number;
  /** Before the second attempt, doubled for each further one, half of it at random; 50 by default. */
  readonly baseDelayMs?: number;
  /** 1,000 by default. */
  readonly maxDelayMs?: number;
  /**
   * Retries are for the single failure, not for the outage: each failed attempt takes 1 of this budget, each success gives 0.1
   * back, and while half of it or less is left nothing is retried; 10 by default. As gRPC's A6 proposal throttles retries, with
   * one difference: where more calls are in flight than that, each of them may be tried again, as one broken connection fails
   * them all.
   */
  readonly budget?: number;
}

const FAILURES_PER_SUCCESS = 0.1;

/**
 * Tries a call again that failed with UNAVAILABLE, within its timeout: one that is known not to have been done, and one whose
 * fate is unknown where a second time does no harm.
 */
export class RetryingTransport implements Transport {
  private readonly maxAttempts: number;
  private readonly baseDelayMs: number;
  private readonly maxDelayMs: number;
  /** How many failed attempts, less what successes made up for, end the retries. */
  private readonly maxFailures: number;
  private failures = 0;
  private inFlight = 0;
  private closed = false;

  constructor(
    private readonly inner: Transport,
    private readonly defaultTimeoutMs: number,
    options: RetryOptions = {},
  ) {
    this.maxAttempts = options.maxAttempts ?? 4;
    this.baseDelayMs = options.baseDelayMs ?? 50;
    this.maxDelayMs = options.maxDelayMs ?? 1_000;
    this.maxFailures = (options.budget ?? 10) / 2;
  }

  call(method: ClientMethod, request: object, options: CallOptions): Promise<unknown> {
    if (!isTimeout(options.timeoutMs)) return Promise.reject(noTimeout());
    const startedAt = performance.now();
    this.inFlight++;
    return this.inner.call(method, request, options).then(this.succeeded, async (error: unknown) => {
      try {
        return await this.retry(method, request, options, startedAt, error);
      } finally {
        this.inFlight--;
      }
    });
  }

  close(): Promise<void> {
    this.closed = true;
    return this.inner.close();
  }

  private readonly succeeded = (response: unknown): unknown => {
    this.inFlight--;
    this.forgive();
    return response;
  };

  private async retry(
    method: ClientMethod,
    request: object,
    options: CallOptions,
    startedAt: number,
    first: unknown,
  ): Promise<unknown> {
    const { timeoutMs = this.defaultTimeoutMs, signal } = options;
    const retrySafe = options.retrySafe ?? RETRY_SAFE.has(method.name);
    let error = first;
    for (let attempt = 1; ; attempt++) {
      if (!(error instanceof UnavailableError)) throw error;
      this.countFailure();
      if (this.closed || attempt >= this.maxAttempts || this.isOutage) throw error;
      if (error.outcomeUnknown && !retrySafe) throw error;

      const delayMs = this.delayMs(attempt, error);
      const leftMs = timeoutMs - (performance.now() - startedAt) - delayMs;
      if (leftMs <= 0) throw error;
      try {
        await delay(delayMs, undefined, signal === undefined ? {} : { signal });
      } catch {
        // given up between two attempts: what is known of the last one is what is known of the call
        throw error;
      }
      try {
        const response = await this.inner.call(method, request, { ...options, timeoutMs: leftMs });
        this.forgive();
        return response;
      } catch (next) {
        error = worseOf(error, next);
      }
    }
  }

  /** More attempts failed than one broken connection explains. */
  private get isOutage(): boolean {
    return this.failures >= this.maxFailures && this.failures > this.inFlight;
  }

  private countFailure(): void {
    // no more than twice what ends the retries, so that they come back soon after an outage
    if (this.failures < 2 * Math.max(this.maxFailures, this.inFlight)) this.failures++;
  }

  private forgive(): void {
    if (this.failures > 0) this.failures = Math.max(0, this.failures - FAILURES_PER_SUCCESS);
  }

  private delayMs(attempt: number, error: ShardkeepError): number {
    const ceiling = Math.min(this.baseDelayMs * 2 ** (attempt - 1), this.maxDelayMs);
    return Math.max(error.retryAfterMs ?? 0, ceiling / 2 + Math.random() * (ceiling / 2));
  }
}

/** A later attempt that was not even sent does not make it known what became of an earlier one. */
function worseOf(earlier: UnavailableError, later: unknown): unknown {
  return later instanceof UnavailableError && earlier.outcomeUnknown ? earlier : later;
}
