import { invalidField } from '../errors.js';
import {
  CreateSessionStatus,
  SessionEndCause,
  SessionServiceService,
  ValidateSessionResponse,
  ValidateSessionStatus,
  type CreateSessionResponse,
  type SessionFields,
} from '../gen/shardkeep/session/v1/session.js';
import { handWritten, implement, type Rpc } from '../grpc/rpc.js';
import { anything, fieldMask, integer, list, map, message, optional, text, type Rule } from '../grpc/rules.js';
import { applyChanges, MAX_METADATA, UPDATABLE_FIELDS } from './changes.js';
import type { Profiles } from './profiles.js';
import type { EndCause } from './scripts.js';
import type { CreateSessionResult, SessionStore, ValidateSessionResult } from './store.js';
import { isToken, parseToken, partitionOfSession } from './token.js';
import { decodeValidateSessionRequest, validateSessionResponseWriter } from './wire.js';

export interface SessionHandlerOptions {
  readonly store: SessionStore;
  readonly profiles: Profiles;
}

const MAX_TTL_MS = 31_536_000_000n;
const MAX_TIME_MS = 253_402_300_799_999n;
const INT64_MAX = 2n ** 63n - 1n;
const DEFAULT_LIST_LIMIT = 100;

const name = text({ minBytes: 0, maxBytes: 128 });
const userId = text({ minBytes: 1, maxBytes: 128 });
const roles = list(text({ minBytes: 1, maxBytes: 128 }), { min: 0, max: 64 });
const permissions = list(text({ minBytes: 1, maxBytes: 128 }), { min: 0, max: 256 });
const metadataKey = text({ minBytes: 1, maxBytes: 64, pattern: /^[a-z0-9_.-]+$/ });
const metadata = map(metadataKey, text({ minBytes: 0, maxBytes: 512 }), { max: MAX_METADATA });
const reason = text({ minBytes: 0, maxBytes: 64 });
const playerMessage = text({ minBytes: 0, maxBytes: 256 });

const sessionId: Rule<string> = (value, field, violations) => {
  if (partitionOfSession(value) === undefined) violations.push({ field, description: 'is no session id' });
};
const noOrSessionId: Rule<string> = (value, field, violations) => {
  if (value !== '') sessionId(value, field, violations);
};
const sessionToken: Rule<string> = (value, field, violations) => {
  if (!isToken(value)) violations.push({ field, description: 'is no session token' });
};
const updatableField: Rule<string> = (value, field, violations) => {
  if (!(UPDATABLE_FIELDS as readonly string[]).includes(value)) {
    violations.push({ field, description: `must be one of ${UPDATABLE_FIELDS.join(', ')}` });
  }
};

export function sessionRpcs({ store, profiles }: SessionHandlerOptions): readonly Rpc[] {
  return implement(SessionServiceService, {
    createSession: {
      rules: {
        userId,
        username: name,
        roles,
        permissions,
        organizationId: name,
        characterId: name,
        metadata,
        profile: text({ minBytes: 0, maxBytes: 32 }),
        idleTtlMs: optional(integer({ min: 1n, max: MAX_TTL_MS })),
        authenticatedAtMs: optional(integer({ min: 1n, max: MAX_TIME_MS })),
      },
      check: ({ profile }) => {
        if (!profiles.has(profile)) throw invalidField('profile', 'no profile has this name');
      },
      handle: async (request, call) => {
        const { username, permissions: granted, organizationId, characterId } = request;
        const terms = profiles.terms(request.profile, optionalNumber(request.idleTtlMs));
        const content = {
          username,
          roles: request.roles,
          permissions: granted,
          organizationId,
          characterId,
          metadata: request.metadata,
          profile: terms.profile,
        };
        const authenticatedAtMs = optionalNumber(request.authenticatedAtMs);
        return toCreateResponse(
          await store.createSession({ userId: request.userId, content, terms, authenticatedAtMs }, call),
        );
      },
    },
    validateSession: handWritten({
      decode: decodeValidateSessionRequest,
      rules: { sessionToken },
      handle: async (request, call) => {
        const token = parseToken(request.sessionToken);
        if (token === undefined) throw invalidField('session_token', 'is no session token');
        const result = await store.validateSession(token.sessionId, token.secretHash, call);
        return result.status === 'valid' ? result.session : encodeOtherOutcome(result);
      },
      writer: validateSessionResponseWriter,
    }),
    getSession: {
      rules: { sessionId },
      handle: async (request, call) => ({ session: await store.getSession(request.sessionId, call) }),
    },
    updateSession: {
      rules: {
        sessionId,
        fields: optional(
          message<SessionFields>({
            username: name,
            roles,
            permissions,
            organizationId: name,
            characterId: name,
            metadata,
          }),
        ),
        updateMask: optional(fieldMask(updatableField, { max: UPDATABLE_FIELDS.length })),
        removeMetadataKeys: list(metadataKey, { min: 0, max: MAX_METADATA }),
        incrementMetadata: map(metadataKey, anything, { max: MAX_METADATA }),
        expectedVersion: optional(integer({ min: 1n, max: INT64_MAX })),
        noTouch: anything,
      },
      check: ({ updateMask, fields }) => {
        if (updateMask !== undefined && updateMask.length > 0 && fields === undefined) {
          throw invalidField('fields', 'must be set where update_mask names some');
        }
      },
      handle: async (request, call) => {
        const { expectedVersion, noTouch } = request;
        const session = await store.updateSession(
          request.sessionId,
          (content) => applyChanges(content, request),
          { expectedVersion, touch: !noTouch },
          call,
        );
        return { session };
      },
    },
    destroySession: {
      rules: { sessionId, reason, message: playerMessage },
      handle: async (request, call) => {
        const words = { reason: request.reason, message: request.message };
        return { destroyed: await store.destroySession(request.sessionId, words, call) };
      },
    },
    destroyUserSessions: {
      rules: {
        userId,
        reason,
        message: playerMessage,
        keepSessionId: noOrSessionId,
        blockForMs: optional(integer({ min: 1n, max: MAX_TTL_MS })),
      },
      handle: async (request, call) => {
        const { destroyedCount, revokedAtMs, blockedUntilMs } = await store.destroyUserSessions(
          request.userId,
          {
            reason: request.reason,
            message: request.message,
            keepSessionId: request.keepSessionId,
            blockForMs: optionalNumber(request.blockForMs),
          },
          call,
        );
        return {
          destroyedCount: BigInt(destroyedCount),
          revokedAtMs: BigInt(revokedAtMs),
          blockedUntilMs: BigInt(blockedUntilMs),
        };
      },
    },
    listUserSessions: {
      rules: { userId, limit: optional(integer({ min: 1, max: 1_000 })) },
      handle: (request, call) => store.listUserSessions(request.userId, request.limit ?? DEFAULT_LIST_LIMIT, call),
    },
  });
}

function optionalNumber(value: bigint | undefined): number | undefined {
  return value === undefined ? undefined : Number(value);
}

function toCreateResponse(result: CreateSessionResult): CreateSessionResponse {
  const nothing: Omit<CreateSessionResponse, 'status'> = {
    session: undefined,
    sessionToken: '',
    evictedSessionIds: [],
    liveSessions: [],
    blockedUntilMs: 0n,
  };
  switch (result.status) {
    case 'created': {
      const { session, sessionToken: token, evictedSessionIds } = result;
      return { ...nothing, status: CreateSessionStatus.CREATED, session, sessionToken: token, evictedSessionIds };
    }
    case 'limit':
      return { ...nothing, status: CreateSessionStatus.SESSION_LIMIT, liveSessions: result.liveSessions };
    case 'blocked':
      return { ...nothing, status: CreateSessionStatus.USER_BLOCKED, blockedUntilMs: BigInt(result.blockedUntilMs) };
    case 'revoked':
      return { ...nothing, status: CreateSessionStatus.AUTHENTICATION_REVOKED };
  }
}

const END_CAUSES: Readonly<Record<EndCause, SessionEndCause>> = {
  destroyed: SessionEndCause.DESTROYED,
  evicted: SessionEndCause.EVICTED,
  expired_idle: SessionEndCause.EXPIRED_IDLE,
  expired_absolute: SessionEndCause.EXPIRED_ABSOLUTE,
};

function encodeOtherOutcome(result: Exclude<ValidateSessionResult, { status: 'valid' }>): Buffer {
  return Buffer.from(ValidateSessionResponse.encode(toValidateResponse(result)).finish());
}

function toValidateResponse(result: Exclude<ValidateSessionResult, { status: 'valid' }>): ValidateSessionResponse {
  if (result.status === 'unknown') {
    return { status: ValidateSessionStatus.UNKNOWN, session: undefined, end: undefined };
  }
  const { cause, reason: why, message: words, endedAtMs } = result.end;
  const expired = cause === 'expired_idle' || cause === 'expired_absolute';
  return {
    status: expired ? ValidateSessionStatus.EXPIRED : ValidateSessionStatus.REVOKED,
    session: undefined,
    end: { cause: END_CAUSES[cause], reason: why, message: words, endedAtMs: BigInt(endedAtMs) },
  };
}
