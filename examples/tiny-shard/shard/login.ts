import { CreateSessionStatus } from '../../../src/gen/shardkeep/session/v1/session.js';
import type { LoginReply, LoginRequest } from '../protocol.js';
import { nowUs } from '../stage/evidence.js';
import type { ShardContext } from './context.js';

/** RateLimitService, then the password, then SessionService. */
export async function login(context: ShardContext, request: LoginRequest): Promise<LoginReply> {
  const { shardkeep, report } = context;
  const { userId, ip, password } = request;

  // Before the password is looked at. Both limits or none are charged: by user against many addresses that guess at one
  // account, by IP against one address that tries many accounts.
  const checkedUs = nowUs();
  const auth = await shardkeep.rateLimits.checkRateLimit({
    limits: [
      { subject: `ip:${ip}`, policy: { $case: 'policyName', value: 'auth' } },
      { subject: `user:${userId}`, policy: { $case: 'policyName', value: 'auth' } },
    ],
  });
  report(checkedUs, { kind: 'auth_checked', userId, ip, allowed: auth.allowed });
  if (!auth.allowed) return { status: 'too_many_attempts', retryAfterMs: Number(auth.retryAfterMs) };

  if (!(await context.host.ask('checkPassword', { userId, password }))) return { status: 'wrong_password' };

  const startedUs = nowUs();
  const created = await shardkeep.sessions.createSession({
    userId,
    roles: ['player'],
    metadata: new Map([
      ['ip', ip],
      ['platform', 'web'],
    ]),
  });
  switch (created.status) {
    case CreateSessionStatus.CREATED: {
      const sessionId = created.session?.sessionId ?? '';
      report(startedUs, { kind: 'session_created', userId, sessionId, evicted: created.evictedSessionIds });
      return { status: 'welcome', sessionId, sessionToken: created.sessionToken };
    }
    case CreateSessionStatus.USER_BLOCKED:
      report(startedUs, { kind: 'login_refused', userId, why: 'blocked' });
      return { status: 'blocked' };
    case CreateSessionStatus.AUTHENTICATION_REVOKED:
      report(startedUs, { kind: 'login_refused', userId, why: 'revoked' });
      return { status: 'try_again' };
    case CreateSessionStatus.SESSION_LIMIT:
      report(startedUs, { kind: 'login_refused', userId, why: 'limit' });
      return { status: 'try_again' };
    // only to a request_id, of which this sends none
    case CreateSessionStatus.REQUEST_SPENT:
    case CreateSessionStatus.UNSPECIFIED:
    case CreateSessionStatus.UNRECOGNIZED:
      throw new Error(`CreateSession answered status ${String(created.status)}`);
  }
}
