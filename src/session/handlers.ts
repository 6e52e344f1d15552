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
import type { SessionAudit, SessionAuditEvent } from './audit.js';
import { applyChanges, MAX_METADATA, UPDATABLE_FIELDS } from './changes.js';
import { claimMethods } from './claim-handlers.js';
import type { ClaimStore } from './claim-store.js';
import { destroyMethods } from './destroy-handlers.js';
import { hashClient } from './client-binding.js';
import { hasExpired, toSessionEnd } from './end-message.js';
import * as fields from './fields.js';
import { optionalNumber } from './fields.js';
import type { NamespacedForeignTokens } from './namespaced-foreign-tokens.js';
import type { Profiles } from './profiles.js';
import { rotationMethods } from './rotation-handlers.js';
import { statsMethods } from './stats-handlers.js';
import type { CreateSessionResult, LoginStore } from './login-store.js';
import type { SessionStore } from './store.js';
import type { NotOpened, TokenStore } from './token-store.js';
import type { SessionStatsStore } from './stats-store.js';
import type { SweepStore } from './sweep-store.js';
import type { Sweepers } from './sweepers.js';
import { parseToken } from './token.js';
import { watchMethods, type WatchHandlerOptions } from './watch-handlers.js';
import { decodeValidateSessionRequest, validateSessionResponseWriter } from './wire.js';

const DEFAULT_LIST_LIMIT = 100;

export interface SessionHandlerOptions extends WatchHandlerOptions {
  readonly store: SessionStore;
  readonly logins: LoginStore;
  readonly tokens: TokenStore;
  readonly claims: ClaimStore;
  readonly profiles: Profiles;
  readonly sweeps: SweepStore;
  readonly sweepers: Pick<Sweepers, 'comeBack'>;
  readonly stats: SessionStatsStore;
  readonly foreignTokens: NamespacedForeignTokens;
  readonly audit: SessionAudit;
}

export function sessionRpcs(options: SessionHandlerOptions): readonly Rpc[] {
  const { store, logins, tokens, profiles, foreignTokens, audit } = options;
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
        requestId: fields.noOrRequestId,
        replacesSessionToken: fields.noOrSessionToken,
        evictSessionIds: list(fields.sessionId, { min: 0, max: 100, unique: true }),
      },
      check: ({ profile }) => {
        if (!profiles.has(profile)) throw profiles.unknownProfile(profile);
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
        const { userId, requestId, evictSessionIds } = request;
        const authenticatedAtMs = optionalNumber(request.authenticatedAtMs);
        const replaces = parseToken(request.replacesSessionToken);
        const result = await logins.createSession(
          { userId, content, terms, authenticatedAtMs, requestId, replaces, evictSessionIds },
          call,
        );
        if (result.status !== 'created' || !result.isRepeated) {
          audit.record(toLoginEvent(result, userId, terms.profile), call);
        } else if (result.replacedSessionId !== '') {
          // what the first try did not come to
          const sessionId = result.replacedSessionId;
          audit.record({ event: 'destroyed', sessionId, reason: 'replaced', effectiveInMs: 0 }, call);
        }
        return toCreateResponse(result);
      },
    },
    validateSession: handWritten({
      decode: decodeValidateSessionRequest,
      rules: {
        sessionToken: fields.sessionToken,
        client: fields.client,
        maxAuthAgeMs: optional(integer({ min: 0n, max: fields.MAX_TTL_MS })),
      },
      onRefused: (request, call) => {
        foreignTokens.of(call.namespace).refused(request, call.peer);
      },
      handle: async (request, call) => {
        const token = parseToken(request.sessionToken);
        if (token === undefined) throw invalidField('session_token', 'is no session token');
        const { client, maxAuthAgeMs } = request;
        const options = { client: client && hashClient(client), maxAuthAgeMs: optionalNumber(maxAuthAgeMs) };
        const result = await tokens.validateSession(token, options, call);
        if (result.status === 'unknown') foreignTokens.of(call.namespace).count('unknown', request, call.peer);
        else if (result.status === 'ended' && result.isTheft) {
          audit.record({ event: 'theft', sessionId: token.sessionId, reason: result.end.reason }, call);
        }
        return 'session' in result ? result : encodeOtherOutcome(result);
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
            resource: text({ minBytes: 1, maxBytes: 512 }),
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
        const { expectedVersion, noTouch, guard } = request;
        const session = await store.updateSession(
          request.sessionId,
          (content) => applyChanges(content, request),
          { expectedVersion, touch: !noTouch, guard: fields.toGuard(guard) },
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
      handle: async ({ sessionId, ttlMs }, call) => ({
        session: await store.extendSession(sessionId, Number(ttlMs), call),
      }),
    },
    listUserSessions: {
      rules: { userId: fields.userId, limit: optional(integer({ min: 1, max: 1_000 })) },
      handle: (request, call) => store.listUserSessions(request.userId, request.limit ?? DEFAULT_LIST_LIMIT, call),
    },
  });
}

function toLoginEvent(result: CreateSessionResult, userId: string, profile: string): SessionAuditEvent {
  if (result.status !== 'created') return { event: 'login_refused', userId, profile, why: result.status };
  const { session, evictedSessionIds, replacedSessionId } = result;
  return { event: 'created', sessionId: session.sessionId, userId, profile, evictedSessionIds, replacedSessionId };
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
      const { session, sessionToken, evictedSessionIds } = result;
      const replacedSessionId = result.isRepeated ? '' : result.replacedSessionId;
      return {
        ...nothing,
        status: CreateSessionStatus.CREATED,
        ...{ session, sessionToken, evictedSessionIds, replacedSessionId },
      };
    }
    case 'limit':
      return { ...nothing, status: CreateSessionStatus.SESSION_LIMIT, liveSessions: result.liveSessions };
    case 'blocked':
      return { ...nothing, status: CreateSessionStatus.USER_BLOCKED, blockedUntilMs: BigInt(result.blockedUntilMs) };
    case 'revoked':
      return { ...nothing, status: CreateSessionStatus.AUTHENTICATION_REVOKED };
    case 'spent':
      return { ...nothing, status: CreateSessionStatus.REQUEST_SPENT };
  }
}

function encodeOtherOutcome(result: NotOpened): Buffer {
  return Buffer.from(ValidateSessionResponse.encode(toValidateResponse(result)).finish());
}

function toValidateResponse(result: NotOpened): ValidateSessionResponse {
  const nothing = { session: undefined, end: undefined, changedClientFields: [] };
  switch (result.status) {
    case 'binding':
      return { ...nothing, status: ValidateSessionStatus.BINDING, changedClientFields: [...result.changedFields] };
    case 'ended':
      return {
        ...nothing,
        status: hasExpired(result.end) ? ValidateSessionStatus.EXPIRED : ValidateSessionStatus.REVOKED,
        end: toSessionEnd(result.end),
      };
    case 'unknown':
      return { ...nothing, status: ValidateSessionStatus.UNKNOWN };
  }
}
