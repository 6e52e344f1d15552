import type { Session, Sessions } from '../../client/index.js';
import { checkSession, type CheckOptions } from '../http/session-check.js';
import type { SessionCredential } from '../http/session-credential.js';
import { HandshakeRefusal, refusedByEnd } from './handshake-refusal.js';

/** A session token begins with the id of its session. */
const SESSION_ID_LENGTH = 24;

/** Which session a credential is for, before anybody knows whether it opens it. */
export function sessionIdOf(credential: SessionCredential): string {
  return 'sessionToken' in credential ? credential.sessionToken.slice(0, SESSION_ID_LENGTH) : credential.sessionId;
}

/** The session that a credential opens now, touched. Throws HandshakeRefusal where it opens none, and ShardkeepError. */
export async function openSession(
  sessions: Sessions,
  credential: SessionCredential,
  options: CheckOptions,
): Promise<Session> {
  const checked = await checkSession(sessions, credential, options);
  if (checked.status === 'open') return checked.session;
  const { denial, end } = checked;
  throw end === undefined ? new HandshakeRefusal({ code: denial }) : refusedByEnd(end);
}
