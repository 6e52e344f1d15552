import { performance } from 'node:perf_hooks';
import type { Call } from '../redis/call.js';
import { keys } from '../redis/keys.js';
import type { Redis } from '../redis/redis.js';
import { channelOf, limitArguments, recordOf } from './limit-scripts.js';
import { countedOf } from './listed.js';
import { refundRateLimitScript, renewConcurrencyScript } from './scripts.js';
import type { RateLimitDecision } from './decision.js';
import type { RateLimitStore } from './store.js';
import type { LimitTerms } from './terms.js';

/** Slots of policies that count how many at once; all in one slot of Redis. */
export interface Slots {
  readonly namespace: string;
  /** Names who has them, among the callers of all processes. */
  readonly holder: string;
  readonly limits: readonly LimitTerms[];
  /** Of each limit without a cost of its own. */
  readonly cost: number;
}

/** How long a script that no caller waits for may take. */
const PATIENCE_MS = 2_000;
/** Slots have names of their own, whatever the mark of their charge. */
const ANY_MARK = '1';

/** What the service does for slots that are held as long as a stream lasts. */
export class ConcurrencyStore {
  constructor(
    private readonly redis: Redis,
    private readonly store: RateLimitStore,
    /** Told of a subject's standing before whoever gave something back is answered. */
    private readonly onRoomMade: (standing: string) => void = () => undefined,
  ) {}

  /** All or nothing. Where it is not known what came of it, the slots may be held. */
  take({ holder, limits, cost }: Slots, call: Call): Promise<RateLimitDecision> {
    return this.store.checkRateLimit(limits, { cost, minCost: 0, chargeDenied: false, holder }, call);
  }

  /** Answers whether all that are not only watched are held; then all that are held are for a window more. */
  async renew(slots: Slots): Promise<boolean> {
    // those that a list lets pass have no slot
    const counted = countedOf(slots.limits);
    const [areHeld] = await Promise.all([
      this.renewThese(
        slots,
        counted.filter(({ isShadow }) => !isShadow),
      ),
      // tried again with the next renewal
      this.renewThese(
        slots,
        counted.filter(({ isShadow }) => isShadow),
      ).catch(() => undefined),
    ]);
    return areHeld;
  }

  private renewThese({ namespace, holder, cost }: Slots, limits: readonly LimitTerms[]): Promise<boolean> {
    if (limits.length === 0) return Promise.resolve(true);
    const call = callOfItsOwn(namespace);
    const bound = renewConcurrencyScript.bind(
      { '...records': limits.map((terms) => recordOf(terms, call)) },
      {
        holder,
        '...limits': limits.flatMap((terms) => [String(terms.cost ?? cost), String(terms.policy.windowMs)]),
      },
    );
    return this.redis.run(bound, call);
  }

  /** Gives back what is held of them. */
  async giveBack({ namespace, holder, limits, cost }: Slots): Promise<void> {
    const call = callOfItsOwn(namespace);
    const ask = { cost, minCost: 0, chargeDenied: false, holder };
    await Promise.all(
      countedOf(limits).map((terms) => {
        const standing = keys.standing(namespace, terms.countedAs);
        const bound = refundRateLimitScript.bind(
          { record: recordOf(terms, call) },
          {
            ...{ mark: ANY_MARK, chargedUs: ANY_MARK, units: String(terms.cost ?? cost), standing },
            channel: channelOf(this.redis.topology, namespace, standing),
            '...limits': limitArguments(terms, ask, 0),
          },
        );
        return this.redis.run(bound, call).finally(() => {
          this.onRoomMade(standing);
        });
      }),
    );
  }
}

function callOfItsOwn(namespace: string): Call {
  return { namespace, deadlineAt: performance.now() + PATIENCE_MS, ended: false };
}
