import type { LoginReply, LoginRequest } from '../protocol.js';
import { nowUs } from '../stage/evidence.js';
import type { ShardContext } from './context.js';

/** Rate limits, then the password, then the session. */
export async function login(context: ShardContext, request: LoginRequest): Promise<LoginReply> {
  const { shardkeep, report } = context;
  const { userId, ip, password } = request;

  // Before the password is looked at. Both limits or none are charged: by user against many addresses that guess at one
  // account, by IP against one address that tries many accounts.
  const checkedUs = nowUs();
  const auth = await shardkeep.rateLimits.checkRateLimit([
    { subject: `ip:${ip}`, policy: 'auth' },
    { subject: `user:${userId}`, policy: 'auth' },
  ]);
  report(checkedUs, { kind: 'auth_checked', userId, ip, allowed: auth.allowed });
  if (!auth.allowed) return { status: 'too_many_attempts', retryAfterMs: auth.retryAfterMs };

  if (!(await context.host.ask('checkPassword', { userId, password }))) return { status: 'wrong_password' };

  const startedUs = nowUs();
  const created = await shardkeep.sessions.createSession({
    userId,
    roles: ['player'],
    client: { ip },
    metadata: { platform: 'web' },
  });
  switch (created.status) {
    case 'created': {
      const { session, sessionToken, evictedSessionIds } = created;
      const { sessionId } = session;
      report(startedUs, { kind: 'session_created', userId, sessionId, evicted: evictedSessionIds });
      return { status: 'welcome', sessionId, sessionToken };
    }
    case 'user_blocked':
      report(startedUs, { kind: 'login_refused', userId, why: 'blocked' });
      return { status: 'blocked' };
    case 'authentication_revoked':
      report(startedUs, { kind: 'login_refused', userId, why: 'revoked' });
      return { status: 'try_again' };
    case 'session_limit':
      report(startedUs, { kind: 'login_refused', userId, why: 'limit' });
      return { status: 'try_again' };
    // a retry that came after somebody else had ended the session
    case 'request_spent':
      report(startedUs, { kind: 'login_refused', userId, why: 'spent' });
      return { status: 'try_again' };
  }
}
