import { invalidField } from '../errors.js';
import {
  CreateSessionStatus,
  SessionServiceService,
  ValidateSessionResponse,
  ValidateSessionStatus,
  type CreateSessionResponse,
  type SessionFields,
  type SessionGuard,
} from '../gen/shardkeep/session/v1/session.js';
import { handWritten, implement, type Rpc } from '../grpc/rpc.js';
import { anything, fieldMask, integer, list, map, message, optional, text } from '../grpc/rules.js';
import { applyChanges, MAX_METADATA, UPDATABLE_FIELDS } from './changes.js';
import { claimMethods } from './claim-handlers.js';
import { destroyMethods } from './destroy-handlers.js';
import { toSessionEnd } from './end-message.js';
import * as fields from './fields.js';
import { optionalNumber } from './fields.js';
import type { Profiles } from './profiles.js';
import { rotationMethods } from './rotation-handlers.js';
import { statsMethods } from './stats-handlers.js';
import type { CreateSessionResult, SessionStore, ValidateSessionResult } from './store.js';
import { parseToken } from './token.js';
import { watchMethods, type WatchHandlerOptions } from './watch-handlers.js';
import { decodeValidateSessionRequest, validateSessionResponseWriter } from './wire.js';

const DEFAULT_LIST_LIMIT = 100;

export interface SessionHandlerOptions extends WatchHandlerOptions {
  readonly store: SessionStore;
  readonly profiles: Profiles;
}

export function sessionRpcs(options: SessionHandlerOptions): readonly Rpc[] {
  const { store, profiles } = options;
  return implement(SessionServiceService, {
    createSession: {
      rules: {
        userId: fields.userId,
        username: fields.name,
        roles: fields.roles,
        permissions: fields.permissions,
        organizationId: fields.name,
        characterId: fields.name,
        metadata: fields.metadata,
        profile: text({ minBytes: 0, maxBytes: 32 }),
        idleTtlMs: optional(integer({ min: 1n, max: fields.MAX_TTL_MS })),
        authenticatedAtMs: optional(integer({ min: 1n, max: fields.MAX_TIME_MS })),
        requestId: text({ minBytes: 0, maxBytes: 128 }),
        replacesSessionToken: fields.noOrSessionToken,
        evictSessionIds: list(fields.sessionId, { min: 0, max: 100, unique: true }),
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
      rules: {
        sessionToken: fields.sessionToken,
        client: fields.client,
        maxAuthAgeMs: optional(integer({ min: 0n, max: fields.MAX_TTL_MS })),
      },
      handle: async (request, call) => {
        const token = parseToken(request.sessionToken);
        if (token === undefined) throw invalidField('session_token', 'is no session token');
        const result = await store.validateSession(token.sessionId, token.secretHash, call);
        return result.status === 'valid' ? result.session : encodeOtherOutcome(result);
      },
      writer: validateSessionResponseWriter,
    }),
    getSession: {
      rules: { sessionId: fields.sessionId },
      handle: async (request, call) => ({ session: await store.getSession(request.sessionId, call) }),
    },
    updateSession: {
      rules: {
        sessionId: fields.sessionId,
        fields: optional(
          message<SessionFields>({
            username: fields.name,
            roles: fields.roles,
            permissions: fields.permissions,
            organizationId: fields.name,
            characterId: fields.name,
            metadata: fields.metadata,
          }),
        ),
        updateMask: optional(fieldMask(fields.updatableField, { max: UPDATABLE_FIELDS.length })),
        removeMetadataKeys: list(fields.metadataKey, { min: 0, max: MAX_METADATA }),
        incrementMetadata: map(fields.metadataKey, anything, { max: MAX_METADATA }),
        expectedVersion: optional(integer({ min: 1n, max: fields.INT64_MAX })),
        noTouch: anything,
        guard: optional(
          message<SessionGuard>({
            resource: text({ minBytes: 1, maxBytes: 256 }),
            fencingToken: integer({ min: 1n, max: fields.MAX_SAFE }),
          }),
        ),
      },
      check: ({ updateMask, fields: values }) => {
        if (updateMask !== undefined && updateMask.length > 0 && values === undefined) {
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
    ...destroyMethods(options),
    ...rotationMethods(options),
    ...watchMethods(options),
    ...claimMethods(options),
    ...statsMethods(options),
    extendSession: {
      rules: { sessionId: fields.sessionId, ttlMs: integer({ min: 1n, max: fields.MAX_TTL_MS }) },
      handle: () => Promise.reject(new Error('not built yet')),
    },
    listUserSessions: {
      rules: { userId: fields.userId, limit: optional(integer({ min: 1, max: 1_000 })) },
      handle: (request, call) => store.listUserSessions(request.userId, request.limit ?? DEFAULT_LIST_LIMIT, call),
    },
  });
}

function toCreateResponse(result: CreateSessionResult): CreateSessionResponse {
  const nothing: Omit<CreateSessionResponse, 'status'> = {
    session: undefined,
    sessionToken: '',
    evictedSessionIds: [],
    liveSessions: [],
    blockedUntilMs: 0n,
    replacedSessionId: '',
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

function encodeOtherOutcome(result: Exclude<ValidateSessionResult, { status: 'valid' }>): Buffer {
  return Buffer.from(ValidateSessionResponse.encode(toValidateResponse(result)).finish());
}

function toValidateResponse(result: Exclude<ValidateSessionResult, { status: 'valid' }>): ValidateSessionResponse {
  const nothing = { session: undefined, end: undefined, changedClientFields: [] };
  if (result.status === 'unknown') return { ...nothing, status: ValidateSessionStatus.UNKNOWN };
  const { end } = result;
  return {
    ...nothing,
    status: end.cause.startsWith('expired') ? ValidateSessionStatus.EXPIRED : ValidateSessionStatus.REVOKED,
    end: toSessionEnd(end),
  };
}
