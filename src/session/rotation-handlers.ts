import { invalidField } from '../errors.js';
import {
  RotateSessionStatus,
  type RotateSessionResponse,
  type SessionServiceService,
} from '../gen/shardkeep/session/v1/session.js';
import type { Implementation } from '../grpc/rpc.js';
import { anything } from '../grpc/rules.js';
import type { SessionAudit } from './audit.js';
import { hashBoundClient, hashClient } from './client-binding.js';
import { hasExpired, toSessionEnd } from './end-message.js';
import * as fields from './fields.js';
import type { NamespacedForeignTokens } from './namespaced-foreign-tokens.js';
import type { RotateSessionResult, TokenStore } from './token-store.js';
import { parseToken } from './token.js';

export interface RotationHandlerOptions {
  readonly tokens: TokenStore;
  readonly foreignTokens: NamespacedForeignTokens;
  readonly audit: SessionAudit;
}

export function rotationMethods({
  tokens,
  foreignTokens,
  audit,
}: RotationHandlerOptions): Pick<Implementation<typeof SessionServiceService>, 'rotateSession'> {
  return {
    rotateSession: {
      rules: { sessionToken: fields.sessionToken, reauthenticated: anything, client: fields.client },
      onRefused: (request, call) => {
        foreignTokens.of(call.namespace).refused(request, call.peer);
      },
      handle: async (request, call) => {
        const { sessionToken, client, reauthenticated } = request;
        const token = parseToken(sessionToken);
        if (token === undefined) throw invalidField('session_token', 'is no session token');
        const { sessionId } = token;
        const hash = reauthenticated ? hashBoundClient : hashClient;
        const options = { client: client && hash(client), reauthenticated };
        const result = await tokens.rotateSession(token, options, call);
        if (result.status === 'unknown') foreignTokens.of(call.namespace).count('unknown', request, call.peer);
        else if (result.status === 'rotated' && !result.isRepeated) {
          audit.record({ event: 'rotated', sessionId, userId: result.session.userId, reauthenticated }, call);
        } else if (result.status === 'ended' && result.isTheft) {
          audit.record({ event: 'theft', sessionId, reason: result.end.reason }, call);
        }
        return toRotateResponse(result);
      },
    },
  };
}

function toRotateResponse(result: RotateSessionResult): RotateSessionResponse {
  const nothing: Omit<RotateSessionResponse, 'status'> = {
    session: undefined,
    sessionToken: '',
    end: undefined,
    changedClientFields: [],
  };
  switch (result.status) {
    case 'rotated': {
      const { session, sessionToken } = result;
      const changedClientFields = [...result.changedFields];
      return { ...nothing, status: RotateSessionStatus.ROTATED, session, sessionToken, changedClientFields };
    }
    case 'binding':
      return { ...nothing, status: RotateSessionStatus.BINDING, changedClientFields: [...result.changedFields] };
    case 'ended':
      return {
        ...nothing,
        status: hasExpired(result.end) ? RotateSessionStatus.EXPIRED : RotateSessionStatus.REVOKED,
        end: toSessionEnd(result.end),
      };
    case 'unknown':
      return { ...nothing, status: RotateSessionStatus.UNKNOWN };
  }
}
