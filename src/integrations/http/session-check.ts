import {
  InvalidArgumentError,
  NotFoundError,
  type Session,
  type SessionClient,
  type SessionEnd,
  type Sessions,
} from '../../client/index.js';
import type { ClientField } from './session-options.js';
import { INVALID, type SessionCredential } from './session-credential.js';

/** Why a request has no session. */
export type SessionDenial =
  /** It shows none. */
  | 'missing'
  /** What it shows opens none: it is no credential, there never was a session, or it ended more than an hour ago. */
  | 'unknown'
  | 'expired'
  | 'revoked'
  /** It comes from another client than the session was made for, or does not tell what it has to. */
  | 'binding'
  /** The user proved who they are too long ago. */
  | 'step_up';

export type CheckedSession =
  | { readonly status: 'open'; readonly session: Session }
  /** `end` where it is known how the session ended. */
  | { readonly status: 'denied'; readonly denial: SessionDenial; readonly end: SessionEnd | undefined };

export interface CheckOptions {
  /** Who makes the request, compared with whom the session was made for. */
  readonly client: SessionClient;
  /** What of `client` has to be there; undefined: nothing. */
  readonly requiredClientFields: readonly ClientField[] | undefined;
  readonly maxAuthAgeMs: number | undefined;
  readonly timeoutMs: number | undefined;
}

/** The shortest extension there is: it only touches. */
export const TOUCH_MS = 1;

/** Whether a credential opens a session now; touches it. Throws ShardkeepError while nobody can tell. */
export async function checkSession(
  sessions: Sessions,
  credential: SessionCredential | typeof INVALID | undefined,
  options: CheckOptions,
): Promise<CheckedSession> {
  if (credential === undefined) return denied('missing');
  if (credential === INVALID) return denied('unknown');
  // before anything is touched
  if (!tellsAll(options)) return denied('binding');
  if ('sessionToken' in credential) return byToken(sessions, credential.sessionToken, options);
  return byId(sessions, credential, options);
}

async function byToken(sessions: Sessions, sessionToken: string, options: CheckOptions): Promise<CheckedSession> {
  const { client, maxAuthAgeMs, timeoutMs } = options;
  const call = {
    client,
    ...(maxAuthAgeMs !== undefined && { maxAuthAgeMs }),
    ...(timeoutMs !== undefined && { timeoutMs }),
  };
  const result = await sessions.validateSession(sessionToken, call).catch(deniedWhereIncomparable);
  switch (result.status) {
    case 'valid':
      return { status: 'open', session: result.session };
    case 'expired':
    case 'revoked':
      return denied(result.status, result.end);
    default:
      return denied(result.status);
  }
}

async function byId(
  sessions: Sessions,
  { sessionId, userId }: Extract<SessionCredential, { sessionId: string }>,
  { maxAuthAgeMs, timeoutMs }: CheckOptions,
): Promise<CheckedSession> {
  try {
    const session = await sessions.extendSession(sessionId, {
      ttlMs: TOUCH_MS,
      ...(timeoutMs !== undefined && { timeoutMs }),
    });
    if (userId !== undefined && userId !== session.userId) return denied('unknown');
    // by the clocks of Redis and of this machine, which may differ by as much
    if (maxAuthAgeMs !== undefined && Date.now() - session.authenticatedAtMs > maxAuthAgeMs) return denied('step_up');
    return { status: 'open', session };
  } catch (error) {
    if (error instanceof NotFoundError || error instanceof InvalidArgumentError) return denied('unknown');
    throw error;
  }
}

/** An empty text is compared as none is. */
function tellsAll({ client, requiredClientFields = [] }: CheckOptions): boolean {
  return requiredClientFields.every((field) => {
    const told: unknown = client[field];
    return typeof told === 'string' && told !== '';
  });
}

/** Who cannot be compared is not whom the session was made for. */
function deniedWhereIncomparable(error: unknown): { readonly status: 'binding' } {
  if (error instanceof InvalidArgumentError && error.fields.some((field) => field.startsWith('client.')))
    return { status: 'binding' };
  throw error;
}

function denied(denial: SessionDenial, end?: SessionEnd): CheckedSession {
  return { status: 'denied', denial, end };
}
