import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { DomainError } from '../errors.js';
import type { Call } from '../redis/call.js';
import { keys } from '../redis/keys.js';
import type { Redis } from '../redis/redis.js';
import { channelOf, limitArguments, recordOf, type Ask } from './limit-scripts.js';
import { refundRateLimitScript, type Decision } from './scripts.js';
import type { AlgorithmName, LimitTerms } from './terms.js';

const TIMEOUT_MS = 5_000;
/** Waited between the tries: a Redis that broke off is back within a second, or not soon. */
const PAUSES_MS = [20, 80, 300, 1_000];
/** Of these each charge has a name of its own. */
const IDEMPOTENT: ReadonlySet<AlgorithmName> = new Set(['sliding_exact', 'concurrency']);

/** Takes back what was charged to some limits of a call that others denied. */
export class Refunds {
  constructor(
    private readonly redis: Redis,
    private readonly logger: Logger,
  ) {}

  /** On a call of its own: the request's may end first. Tried again while that takes nothing twice; never fails. */
  async refund(limits: readonly LimitTerms[], charge: Decision, ask: Ask, { namespace }: Call): Promise<void> {
    const call: Call = { namespace, deadlineAt: performance.now() + TIMEOUT_MS, ended: false };
    await Promise.all(
      limits.map(async (terms, index) => {
        const standing = keys.standing(namespace, terms.countedAs);
        const bound = refundRateLimitScript.bind(
          { record: recordOf(terms, call) },
          {
            standing,
            channel: channelOf(this.redis.topology, namespace, standing),
            mark: String(charge.limits[index]?.mark ?? 0),
            chargedUs: String(charge.nowUs),
            units: String(terms.cost ?? charge.units),
            '...limits': limitArguments(terms, ask, Math.floor(charge.nowUs / 1_000)),
          },
        );
        for (const pauseMs of [...PAUSES_MS, undefined]) {
          try {
            await this.redis.run(bound, call);
            return;
          } catch (error) {
            const mayHaveRun = !(error instanceof DomainError) || error.code === 'OUTCOME_UNKNOWN';
            if (pauseMs === undefined || (mayHaveRun && !IDEMPOTENT.has(terms.policy.algorithm))) {
              this.logger.warn(
                { policy: terms.policy.name, err: error },
                'charge not taken back, it lapses with its window',
              );
              return;
            }
            await sleep(pauseMs);
          }
        }
      }),
    );
  }
}
