import { keys, partitionOfUser } from '../../src/redis/keys.js';
import type { RawRedis } from '../support/raw-redis.js';

/** Sessions as they lie in Redis. */

export interface RawEvent {
  readonly type: string;
  readonly session: string;
  readonly cause: string;
  readonly reason: string;
}

/** The events of a user's sessions, oldest first. */
export async function eventsOf(redis: RawRedis, namespace: string, userId: string): Promise<RawEvent[]> {
  const { events } = keys.sessions(namespace, partitionOfUser(userId));
  const entries = (await redis.command('XRANGE', events, '-', '+')) as [unknown, unknown[]][];
  const read = entries.map(([, fields]) => {
    const values = new Map<string, string>();
    for (let at = 0; at < fields.length; at += 2) values.set(String(fields[at]), String(fields[at + 1]));
    const field = (name: string): string => values.get(name) ?? '';
    const event = { type: field('type'), session: field('session'), cause: field('cause'), reason: field('reason') };
    return { event, user: field('user') };
  });
  return read.filter(({ user }) => user === userId).map(({ event }) => event);
}

export async function recordOf(
  redis: RawRedis,
  namespace: string,
  { userId, sessionId }: { userId: string; sessionId: string },
): Promise<Buffer> {
  const record = await redis.command('GET', keys.session(namespace, partitionOfUser(userId), sessionId));
  if (!Buffer.isBuffer(record)) throw new Error('no record');
  return record;
}
