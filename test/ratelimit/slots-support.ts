import {
  Algorithm,
  RateLimitServiceService,
  type CheckRateLimitResponse,
  type HoldConcurrencyResponse,
  type Limit,
} from '../../src/gen/shardkeep/ratelimit/v1/ratelimit.js';
import { inlinePolicyTerms } from '../../src/ratelimit/policy-terms.js';
import type { PromiseClient, TestChannel } from '../support/client.js';
import { randomNamespace } from '../support/service.js';
import { openStream, type TestStream } from '../support/stream-client.js';

export interface SlotTerms {
  readonly name?: string;
  readonly windowMs?: number;
  readonly cost?: number;
}

/** So many slots of a subject; inline policies of one name and lease share their count. */
export function slotsOf(
  subject: string,
  limit: number,
  { name = 'slots', windowMs = 600_000, cost }: SlotTerms = {},
): Limit {
  const value = { name, algorithm: Algorithm.CONCURRENCY, limit, windowMs: BigInt(windowMs), burst: undefined };
  return { subject, policy: { $case: 'inlinePolicy', value }, cost, role: undefined, subjects: undefined };
}

/** How the keys of Redis call the policy of such slots. */
export function storedSlots({ policy }: Limit): string {
  if (policy?.$case !== 'inlinePolicy') throw new Error('not an inline policy');
  return inlinePolicyTerms(policy.value).storedName;
}

export const someone = (): string => `user:${randomNamespace()}`;

/** A HoldConcurrency stream as a caller has it. */
export class SlotHold {
  readonly stream: TestStream<never, HoldConcurrencyResponse>;

  constructor(
    channel: TestChannel,
    limits: Limit[],
    options: { readonly cost?: number; readonly deadline?: number } = {},
  ) {
    const { cost, deadline } = options;
    const callOptions = deadline === undefined ? {} : { deadline };
    this.stream = openStream(channel, RateLimitServiceService.holdConcurrency, { limits, cost }, callOptions);
    // a test that wants to know asks for its code
    this.stream.result.catch(() => undefined);
  }

  async decision(): Promise<CheckRateLimitResponse> {
    await this.stream.untilMessages(1);
    const decision = this.stream.messages[0]?.decision;
    if (decision === undefined) throw new Error('no decision');
    return decision;
  }
}

type RateLimits = PromiseClient<typeof RateLimitServiceService>;

/** Units in use of each limit. */
export async function usedOf(rateLimits: RateLimits, ...limits: Limit[]): Promise<number[]> {
  const peeks = await Promise.all(limits.map((limit) => rateLimits.peekRateLimit({ limits: [limit] })));
  return peeks.map(({ limits: [state] }) => (state === undefined ? -1 : state.limit - state.remaining));
}
