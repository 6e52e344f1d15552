import { invalidField } from '../errors.js';
import {
  RotateSessionStatus,
  type RotateSessionResponse,
  type SessionServiceService,
} from '../gen/shardkeep/session/v1/session.js';
import type { Implementation } from '../grpc/rpc.js';
import { anything } from '../grpc/rules.js';
import { hashClient } from './client-binding.js';
import { hasExpired, toSessionEnd } from './end-message.js';
import * as fields from './fields.js';
import type { RotateSessionResult, TokenStore } from './token-store.js';
import { parseToken } from './token.js';

export interface RotationHandlerOptions {
  readonly tokens: TokenStore;
}

export function rotationMethods({
  tokens,
}: RotationHandlerOptions): Pick<Implementation<typeof SessionServiceService>, 'rotateSession'> {
  return {
    rotateSession: {
      rules: { sessionToken: fields.sessionToken, reauthenticated: anything, client: fields.client },
      handle: async ({ sessionToken, client, reauthenticated }, call) => {
        const token = parseToken(sessionToken);
        if (token === undefined) throw invalidField('session_token', 'is no session token');
        const options = { client: client && hashClient(client), reauthenticated };
        return toRotateResponse(await tokens.rotateSession(token, options, call));
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
