import { randomBytes } from 'node:crypto';
import * as proto from '../../gen/shardkeep/session/v1/session.js';
import { listIn, objectIn, optionsIn, type OptionNames } from '../arguments.js';
import { foreignAnswer } from './foreign-answer.js';
import { toOptionalInt64 } from '../int64.js';
import { toSession, type Session } from './session.js';
import { SESSION_FIELDS, toFieldsMessage, type SessionFields } from './session-fields.js';
import { toMetadata, type SessionClient } from './session-client.js';

/** A login. */
export interface SessionLogin extends SessionFields {
  /** 1 to 128 bytes. */
  readonly userId: string;
  /** Who logs in, as validateSession compares it: the metadata `ip`, `user_agent` and `device_id`, in a word. */
  readonly client?: SessionClient | undefined;
  /** A configured profile; `default` where it is absent. */
  readonly profile?: string | undefined;
  /** Instead of the profile's, 1 to 31,536,000,000. */
  readonly idleTtlMs?: number | undefined;
  /** When the user proved who they are, Unix milliseconds; now where it is absent, and then nothing refuses it. */
  readonly authenticatedAtMs?: number | undefined;
  /**
   * 22 to 128 bytes with at least 128 random bits; one is made where it is absent. Who gives their own may try again
   * within 10 minutes, also from another process, and get the same session. With Redis's content, it opens the session.
   */
  readonly requestId?: string | undefined;
  /** The token of a session that ends (`destroyed`, reason `replaced`) and does not count against the limit. */
  readonly replacesSessionToken?: string | undefined;
  /** Sessions of this user to end if this one is created, up to 100: what the player chose from `liveSessions`. */
  readonly evictSessionIds?: readonly string[] | undefined;
}

const LOGIN: OptionNames<SessionLogin> = {
  ...SESSION_FIELDS,
  userId: true,
  client: true,
  profile: true,
  idleTtlMs: true,
  authenticatedAtMs: true,
  requestId: true,
  replacesSessionToken: true,
  evictSessionIds: true,
};

export type CreateSessionResult =
  | {
      readonly status: 'created';
      readonly session: Session;
      /** The credential: never told again, but to a retry with the same `requestId`. */
      readonly sessionToken: string;
      /** What was ended to make room; empty in the answer to a retry. */
      readonly evictedSessionIds: readonly string[];
      /** What it took the place of; undefined in the answer to a retry. */
      readonly replacedSessionId: string | undefined;
    }
  | {
      /** The user has as many sessions as the profile allows, and it ends none for a new one. */
      readonly status: 'session_limit';
      /** The user's, oldest first, at most 100. */
      readonly liveSessions: readonly Session[];
    }
  | {
      /** destroyUserSessions keeps the user out. */
      readonly status: 'user_blocked';
      readonly blockedUntilMs: number;
    }
  /** The user's sessions were destroyed after `authenticatedAtMs`: they have to prove who they are again. */
  | { readonly status: 'authentication_revoked' }
  /** The session that this `requestId` made has ended since, or was rotated. */
  | { readonly status: 'request_spent' };

const REQUEST_ID_BYTES = 32;

export function toCreateSessionRequest(login: SessionLogin): Partial<proto.CreateSessionRequest> {
  const { client = {}, requestId = '' } = optionsIn(objectIn(login, 'login'), LOGIN);
  const metadata = login.metadata === undefined ? {} : objectIn(login.metadata, 'metadata');
  return {
    ...toFieldsMessage({ ...login, metadata: { ...metadata, ...toMetadata(client) } }),
    userId: login.userId,
    profile: login.profile ?? '',
    idleTtlMs: toOptionalInt64(login.idleTtlMs, 'idleTtlMs'),
    authenticatedAtMs: toOptionalInt64(login.authenticatedAtMs, 'authenticatedAtMs'),
    requestId: requestId === '' ? randomBytes(REQUEST_ID_BYTES).toString('base64url') : requestId,
    replacesSessionToken: login.replacesSessionToken ?? '',
    evictSessionIds: listIn(login.evictSessionIds ?? [], 'evictSessionIds'),
  };
}

export function toCreateSessionResult(response: proto.CreateSessionResponse): CreateSessionResult {
  const rpc = 'CreateSession';
  switch (response.status) {
    case proto.CreateSessionStatus.CREATED:
      return {
        status: 'created',
        session: toSession(response.session, rpc),
        sessionToken: response.sessionToken,
        evictedSessionIds: response.evictedSessionIds,
        replacedSessionId: response.replacedSessionId === '' ? undefined : response.replacedSessionId,
      };
    case proto.CreateSessionStatus.SESSION_LIMIT:
      return {
        status: 'session_limit',
        liveSessions: response.liveSessions.map((session) => toSession(session, rpc)),
      };
    case proto.CreateSessionStatus.USER_BLOCKED:
      return { status: 'user_blocked', blockedUntilMs: Number(response.blockedUntilMs) };
    case proto.CreateSessionStatus.AUTHENTICATION_REVOKED:
      return { status: 'authentication_revoked' };
    case proto.CreateSessionStatus.REQUEST_SPENT:
      return { status: 'request_spent' };
    default:
      throw foreignAnswer(rpc);
  }
}
