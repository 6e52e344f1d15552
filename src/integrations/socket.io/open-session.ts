import {
  InvalidArgumentError,
  NotFoundError,
  type Session,
  type SessionClient,
  type Sessions,
} from '../../client/index.js';
import type { SessionCredential } from '../http/session-credential.js';
import { HandshakeRefusal, refusedByEnd } from './handshake-refusal.js';

export interface OpenSessionOptions {
  /** Who connects, compared with whom the session was made for. */
  readonly client: SessionClient;
  readonly maxAuthAgeMs: number | undefined;
  readonly timeoutMs: number;
}

/** The shortest extension there is: it only touches. */
export const TOUCH_MS = 1;
/** A session token begins with the id of its session. */
const SESSION_ID_LENGTH = 24;

/** Which session a credential is for, before anybody knows whether it opens it. */
export function sessionIdOf(credential: SessionCredential): string {
  return 'sessionToken' in credential ? credential.sessionToken.slice(0, SESSION_ID_LENGTH) : credential.sessionId;
}

/** The session that a credential opens now, touched. Throws HandshakeRefusal where it opens none, and ShardkeepError. */
export function openSession(
  sessions: Sessions,
  credential: SessionCredential,
  options: OpenSessionOptions,
): Promise<Session> {
  return 'sessionToken' in credential
    ? byToken(sessions, credential.sessionToken, options)
    : byId(sessions, credential, options);
}

async function byToken(sessions: Sessions, token: string, options: OpenSessionOptions): Promise<Session> {
  const result = await sessions.validateSession(token, options).catch((error: unknown) => {
    throw error instanceof InvalidArgumentError ? (refusalOf(error) ?? error) : error;
  });
  switch (result.status) {
    case 'valid':
      return result.session;
    case 'expired':
    case 'revoked':
      throw refusedByEnd(result.end);
    default:
      throw new HandshakeRefusal({ code: result.status });
  }
}

async function byId(
  sessions: Sessions,
  { sessionId, userId }: Extract<SessionCredential, { sessionId: string }>,
  { maxAuthAgeMs, timeoutMs }: OpenSessionOptions,
): Promise<Session> {
  const session = await sessions.extendSession(sessionId, { ttlMs: TOUCH_MS, timeoutMs }).catch((error: unknown) => {
    if (error instanceof NotFoundError || error instanceof InvalidArgumentError) return undefined;
    throw error;
  });
  if (session === undefined || (userId !== undefined && userId !== session.userId)) {
    throw new HandshakeRefusal({ code: 'unknown' });
  }
  // by the clocks of Redis and of this machine, which may differ by as much
  if (maxAuthAgeMs !== undefined && Date.now() - session.authenticatedAtMs > maxAuthAgeMs) {
    throw new HandshakeRefusal({ code: 'step_up' });
  }
  return session;
}

/** What is no token opens nothing; who cannot be compared is not whom the session was made for. */
function refusalOf({ fields }: InvalidArgumentError): HandshakeRefusal | undefined {
  if (fields.includes('session_token')) return new HandshakeRefusal({ code: 'unknown' });
  if (fields.some((field) => field.startsWith('client.'))) return new HandshakeRefusal({ code: 'binding' });
  return undefined;
}
