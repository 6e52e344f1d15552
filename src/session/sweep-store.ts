import type { Call } from '../redis/call.js';
import { keys, PARTITION_COUNT } from '../redis/keys.js';
import { UnexpectedReplyError } from '../redis/lua-script.js';
import type { Redis } from '../redis/redis.js';
import type { EndCause } from './scripts.js';
import type { EndingWords } from './store.js';
import {
  destroyPartitionSessionsScript,
  renewSweepLeaseScript,
  revokePartitionScript,
  sweepSessionsScript,
  type DestroyPass,
  type SweptSession,
} from './sweep-scripts.js';

/** How many sessions one script looks at or ends, so that Redis is never held for long. */
const MAX_A_SCRIPT = 100;
/** Of scripts that end sessions: what is sent together, Redis does in one go. */
const MAX_SCRIPTS_AT_ONCE = 2;
/** More than the service's copy of Redis's clock can be off, also where Cluster masters differ. */
const CLOCK_MARGIN_MS = 1_000;

export const PARTITIONS: readonly number[] = Array.from({ length: PARTITION_COUNT }, (_, partition) => partition);

export interface SweepResult {
  /** When the first session that is left is due at the earliest, Unix ms of Redis's clock. */
  readonly nextDueMs: number;
  /** There may be more that have run out. */
  readonly more: boolean;
  /** `destroySome` has work here: a DestroyAllSessions was cut off. */
  readonly destroying: boolean;
  /** How late the latest of `ended` was ended. */
  readonly lagMs: number;
  readonly ended: readonly SweptSession[];
}

/** Ends what is over, one partition at a time; any number of processes may do so at once. */
export class SweepStore {
  constructor(private readonly redis: Redis) {}

  /** When the first session of a partition is due at the earliest, Unix ms of Redis's clock; Infinity: it has none. */
  async firstDueMs(partition: number, call: Call): Promise<number> {
    const { deadlines } = keys.sessions(call.namespace, partition);
    const reply = await this.redis.read(deadlines, ['ZRANGE', deadlines, '0', '0', 'WITHSCORES'], call);
    if (!Array.isArray(reply)) throw new UnexpectedReplyError('no list of members');
    const [first] = reply as readonly unknown[];
    if (first === undefined) return Number.POSITIVE_INFINITY;
    const score: unknown = Array.isArray(first) ? first[1] : undefined;
    if (typeof score !== 'number') throw new UnexpectedReplyError('no member with its score');
    return score;
  }

  /** Ends at most 100 sessions of a partition that have run out. */
  async sweep(partition: number, call: Call): Promise<SweepResult> {
    const { sessionPrefix, userPrefix, deadlines, counters, events } = keys.sessions(call.namespace, partition);
    const swept = await this.redis.run(
      sweepSessionsScript.bind(
        { deadlines, counters, events },
        { sessionPrefix, userPrefix, maxLooked: String(MAX_A_SCRIPT) },
      ),
      call,
    );
    return { ...swept, nextDueMs: swept.nextDueMs === 0 ? Number.POSITIVE_INFINITY : swept.nextDueMs };
  }

  /** Ends every session that has run out; answers how many this call ended, by cause. */
  async cleanup(call: Call): Promise<readonly SweptSession[]> {
    const dueBeforeMs = this.redis.clock.nowMs() + CLOCK_MARGIN_MS;
    const firstDue = await Promise.all(PARTITIONS.map((partition) => this.firstDueMs(partition, call)));
    const due = PARTITIONS.filter((partition) => (firstDue[partition] ?? 0) <= dueBeforeMs);
    const ended: SweptSession[] = [];
    await eachOf(due, async (partition) => {
      const swept = await this.sweep(partition, call);
      ended.push(...swept.ended);
      return swept.more ? partition : undefined;
    });
    return ended;
  }

  /** Answers the moment before which logins are refused in this partition from now on, in µs. */
  revoke(partition: number, words: EndingWords, call: Call): Promise<bigint> {
    const { deadlines, counters } = keys.sessions(call.namespace, partition);
    const { reason, message } = words;
    return this.redis.run(revokePartitionScript.bind({ deadlines, counters }, { reason, message }), call);
  }

  /** Ends at most 100 sessions of a partition that were created before it was revoked; `pass` is what the last call answered. */
  destroySome(
    partition: number,
    pass: DestroyPass | undefined,
    call: Call,
  ): Promise<{ readonly destroyed: number; readonly more: boolean; readonly pass: DestroyPass }> {
    const { sessionPrefix, userPrefix, deadlines, counters, events } = keys.sessions(call.namespace, partition);
    const { notBeforeUs = '0', cursor = '0', isClean = '1' } = pass ?? {};
    return this.redis.run(
      destroyPartitionSessionsScript.bind(
        { deadlines, counters, events },
        { sessionPrefix, userPrefix, notBeforeUs, cursor, isClean, maxEnded: String(MAX_A_SCRIPT) },
      ),
      call,
    );
  }

  /** Takes the lease or keeps it, with 0 gives it up; answers whether `token` has it now. */
  renewLease(token: string, leaseMs: number, call: Call): Promise<boolean> {
    const lease = keys.sweeper(call.namespace);
    return this.redis.run(renewSweepLeaseScript.bind({ lease }, { token, leaseMs: String(leaseMs) }), call);
  }
}

/** Does some work for each item, for few at once; what `work` answers is to be done again, behind the others. */
export async function eachOf<Item>(
  items: readonly Item[],
  work: (item: Item) => Promise<Item | undefined>,
): Promise<void> {
  const left = [...items];
  let failed = false;
  const worker = async (): Promise<void> => {
    for (let item = left.shift(); item !== undefined && !failed; item = left.shift()) {
      try {
        const again = await work(item);
        if (again !== undefined) left.push(again);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: MAX_SCRIPTS_AT_ONCE }, worker));
}

/** How many of the sessions ended by each cause. */
export function countCauses(ended: readonly SweptSession[]): Partial<Record<EndCause, number>> {
  const counts: Partial<Record<EndCause, number>> = {};
  for (const { cause } of ended) counts[cause] = (counts[cause] ?? 0) + 1;
  return counts;
}
