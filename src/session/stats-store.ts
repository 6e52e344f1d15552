import type { Call } from '../redis/call.js';
import { keys } from '../redis/keys.js';
import { UnexpectedReplyError } from '../redis/lua-script.js';
import type { Redis } from '../redis/redis.js';
import { END_CAUSES, type EndCause } from './scripts.js';
import { PARTITIONS } from './sweep-store.js';

export interface SessionStats {
  readonly active: number;
  readonly users: number;
  readonly created: number;
  /** In the last whole minute of Redis's clock. */
  readonly createdLastMinute: number;
  readonly ended: ReadonlyMap<EndCause, number>;
  /** Of the sessions that have ended, as far as their record was there. */
  readonly meanDurationMs: number;
  /** How many these are, and how long they lived together. */
  readonly timed: number;
  readonly livedMs: number;
  readonly extended: number;
  readonly rotated: number;
}

/** Fields of the counters of a partition that are added up. */
const SUMMED = ['active', 'users', 'created', 'timed', 'duration_ms', 'extended', 'rotated', ...END_CAUSES] as const;
const CREATED_MINUTE = 'created_minute';
const MINUTE_MS = 60_000;

type Sums = Record<(typeof SUMMED)[number], number>;

/** What is counted over all sessions of a namespace. */
export class SessionStatsStore {
  constructor(private readonly redis: Redis) {}

  /** One plain read for each partition, all at once: not of one moment. */
  async getSessionStats(call: Call): Promise<SessionStats> {
    const counters = await Promise.all(PARTITIONS.map((partition) => this.countersOf(partition, call)));
    const sums = Object.fromEntries(SUMMED.map((name) => [name, 0])) as Sums;
    const lastMinute = Math.floor(this.redis.clock.nowMs() / MINUTE_MS) - 1;
    let createdLastMinute = 0;
    for (const [createdMinute, ...values] of counters) {
      createdLastMinute += createdIn(lastMinute, createdMinute ?? '');
      SUMMED.forEach((name, place) => {
        sums[name] += Number(values[place] ?? 0);
      });
    }
    return {
      active: sums.active,
      users: sums.users,
      created: sums.created,
      createdLastMinute,
      ended: new Map(END_CAUSES.map((cause) => [cause, sums[cause]])),
      meanDurationMs: sums.timed === 0 ? 0 : Math.round(sums.duration_ms / sums.timed),
      timed: sums.timed,
      livedMs: sums.duration_ms,
      extended: sums.extended,
      rotated: sums.rotated,
    };
  }

  /** In the order of the fields: CREATED_MINUTE, then SUMMED. */
  private async countersOf(partition: number, call: Call): Promise<readonly (string | undefined)[]> {
    const key = keys.sessions(call.namespace, partition).counters;
    const reply = await this.redis.read(key, ['HMGET', key, CREATED_MINUTE, ...SUMMED], call);
    if (!Array.isArray(reply)) throw new UnexpectedReplyError('no list of counters');
    return (reply as readonly unknown[]).map((value) =>
      Buffer.isBuffer(value) ? value.toString('latin1') : undefined,
    );
  }
}

/** `field`: as `lua/lib/created-minute.lua` writes it. */
function createdIn(minute: number, field: string): number {
  const [counted, count, before] = field.split(':').map(Number);
  if (counted === minute) return count ?? 0;
  return counted === minute + 1 ? (before ?? 0) : 0;
}
