import { SessionEndCause, ValidateSessionStatus } from '../../../src/gen/shardkeep/session/v1/session.js';
import type { BanReply, BanRequest } from '../protocol.js';
import { nowUs } from '../stage/evidence.js';
import type { ShardContext } from './context.js';

export type Validated =
  | { readonly status: 'valid'; readonly userId: string; readonly sessionId: string }
  | { readonly status: 'over'; readonly reason: string };

/** Before every action of a player. The shard keeps no sessions of its own, so any shard can serve any player. */
export async function validate({ shardkeep, report }: ShardContext, sessionToken: string): Promise<Validated> {
  const startedUs = nowUs();
  const { status, session, end } = await shardkeep.sessions.validateSession({ sessionToken });
  const valid = status === ValidateSessionStatus.VALID && session !== undefined;
  const cause = end === undefined ? ValidateSessionStatus[status] : SessionEndCause[end.cause];
  report(startedUs, { kind: 'session_validated', sessionId: idOf(sessionToken), valid, cause });
  if (valid) return { status: 'valid', userId: session.userId, sessionId: session.sessionId };
  const message = end?.message ?? '';
  return { status: 'over', reason: message === '' ? cause : message };
}

export async function logout({ shardkeep, report }: ShardContext, sessionId: string): Promise<void> {
  const startedUs = nowUs();
  await shardkeep.sessions.destroySession({ sessionId, reason: 'logout' });
  report(startedUs, { kind: 'session_destroyed', sessionId });
}

/** Ends every session of the user, wherever it was made, and keeps new ones out. */
export async function ban({ shardkeep, report }: ShardContext, request: BanRequest): Promise<BanReply> {
  const startedUs = nowUs();
  const reply = await shardkeep.sessions.destroyUserSessions({
    userId: request.userId,
    reason: 'ban',
    message: request.reason,
    blockForMs: BigInt(request.blockForMs),
  });
  const destroyedCount = Number(reply.destroyedCount);
  report(startedUs, { kind: 'user_banned', userId: request.userId, destroyedCount });
  return { destroyedCount };
}

/** The part of a token that is no secret. */
function idOf(sessionToken: string): string {
  return sessionToken.split('.', 1)[0] ?? '';
}
