import type { SessionServiceService } from '../gen/shardkeep/session/v1/session.js';
import type { Implementation } from '../grpc/rpc.js';
import { anything } from '../grpc/rules.js';
import * as fields from './fields.js';
import type { SessionStore } from './store.js';

export interface RotationHandlerOptions {
  readonly store: SessionStore;
}

export function rotationMethods(
  _: RotationHandlerOptions,
): Pick<Implementation<typeof SessionServiceService>, 'rotateSession'> {
  return {
    rotateSession: {
      rules: { sessionToken: fields.sessionToken, reauthenticated: anything, client: fields.client },
      handle: () => Promise.reject(new Error('not built yet')),
    },
  };
}
