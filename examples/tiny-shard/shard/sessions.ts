import type { BanReply, BanRequest } from '../protocol.js';
import { nowUs } from '../stage/evidence.js';
import type { ShardContext } from './context.js';

export type Validated =
  | { readonly status: 'valid'; readonly userId: string; readonly sessionId: string }
  | { readonly status: 'over'; readonly reason: string };

/** Before every action of a player. The shard keeps no sessions of its own, so any shard can serve any player. */
export async function validate({ shardkeep, report }: ShardContext, sessionToken: string): Promise<Validated> {
  const startedUs = nowUs();
  const check = await shardkeep.sessions.validateSession(sessionToken);
  const end = 'end' in check ? check.end : undefined;
  const cause = end?.cause ?? check.status;
  report(startedUs, {
    kind: 'session_validated',
    sessionId: idOf(sessionToken),
    valid: check.status === 'valid',
    cause,
  });
  if (check.status === 'valid')
    return { status: 'valid', userId: check.session.userId, sessionId: check.session.sessionId };
  const message = end?.message ?? '';
  return { status: 'over', reason: message === '' ? cause : message };
}

export async function logout({ shardkeep, report }: ShardContext, sessionId: string): Promise<void> {
  const startedUs = nowUs();
  await shardkeep.sessions.destroySession(sessionId, { reason: 'logout' });
  report(startedUs, { kind: 'session_destroyed', sessionId });
}

/** Ends every session of the user, wherever it was made, and keeps new ones out. */
export async function ban({ shardkeep, report }: ShardContext, request: BanRequest): Promise<BanReply> {
  const startedUs = nowUs();
  const { userId, reason: message, blockForMs } = request;
  const { destroyedCount } = await shardkeep.sessions.destroyUserSessions(userId, {
    reason: 'ban',
    message,
    blockForMs,
  });
  report(startedUs, { kind: 'user_banned', userId, destroyedCount });
  return { destroyedCount };
}

/** The part of a token that is no secret. */
function idOf(sessionToken: string): string {
  return sessionToken.split('.', 1)[0] ?? '';
}
