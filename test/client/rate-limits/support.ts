import { afterEach } from '@jest/globals';
import {
  connect,
  type ConnectOptions,
  type InlineRateLimitPolicy,
  type RateLimits,
} from '../../../src/client/index.js';
import { randomNamespace } from '../../support/service.js';

/** Clients that are closed after the test that opened them. */
export class ClientsOfTest {
  private readonly closings: (() => Promise<void>)[] = [];

  constructor() {
    afterEach(async () => {
      await Promise.all(this.closings.splice(0).map((close) => close()));
    });
  }

  /** The rate limits of a client of its own. */
  rateLimits(address: string, options: ConnectOptions = {}): RateLimits {
    // no deadline of these tests is about how fast this machine is
    const client = connect(address, { timeoutMs: 30_000, logger: false, ...options });
    this.closings.push(() => client.close());
    return client.rateLimits;
  }
}

export const someone = (kind = 'user'): string => `${kind}:${randomNamespace()}`;

/** So many in ten minutes. */
export function exactly(limit: number, name = 'exactly'): InlineRateLimitPolicy {
  return { name, algorithm: 'sliding_exact', limit, windowMs: 600_000 };
}

export function slots(limit: number, windowMs = 600_000): InlineRateLimitPolicy {
  return { name: 'slots', algorithm: 'concurrency', limit, windowMs };
}
