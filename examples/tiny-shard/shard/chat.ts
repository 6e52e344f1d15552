import type { ActReply } from '../protocol.js';
import { nowUs } from '../stage/evidence.js';
import type { ShardContext } from './context.js';

/** Tells everyone near, at most 10 messages in any 10 s from one player, on however many shards they talk at once. */
export async function chat({ shardkeep, report }: ShardContext, userId: string): Promise<ActReply> {
  const startedUs = nowUs();
  const { allowed, retryAfterMs } = await shardkeep.rateLimits.check(`user:${userId}`, 'chat');
  report(startedUs, { kind: 'chat_checked', userId, allowed });
  return allowed ? { status: 'done' } : { status: 'too_fast', retryAfterMs };
}
