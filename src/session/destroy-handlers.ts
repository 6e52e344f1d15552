import type { SessionServiceService } from '../gen/shardkeep/session/v1/session.js';
import type { Implementation } from '../grpc/rpc.js';
import { integer, optional } from '../grpc/rules.js';
import * as fields from './fields.js';
import { optionalNumber } from './fields.js';
import type { SessionStore } from './store.js';

export interface DestroyHandlerOptions {
  readonly store: SessionStore;
}

export function destroyMethods({
  store,
}: DestroyHandlerOptions): Pick<
  Implementation<typeof SessionServiceService>,
  'destroySession' | 'destroyUserSessions' | 'destroyAllSessions'
> {
  return {
    destroySession: {
      rules: {
        sessionId: fields.sessionId,
        reason: fields.reason,
        message: fields.playerMessage,
        effectiveInMs: fields.effectiveInMs,
      },
      handle: async (request, call) => {
        const { sessionId, reason, message } = request;
        const effectiveInMs = optionalNumber(request.effectiveInMs);
        return { destroyed: await store.destroySession(sessionId, { reason, message, effectiveInMs }, call) };
      },
    },
    destroyUserSessions: {
      rules: {
        userId: fields.userId,
        reason: fields.reason,
        message: fields.playerMessage,
        keepSessionId: fields.noOrSessionId,
        blockForMs: optional(integer({ min: 1n, max: fields.MAX_TTL_MS })),
        effectiveInMs: fields.effectiveInMs,
      },
      handle: async (request, call) => {
        const { destroyedCount, revokedAtMs, blockedUntilMs } = await store.destroyUserSessions(
          request.userId,
          {
            reason: request.reason,
            message: request.message,
            keepSessionId: request.keepSessionId,
            blockForMs: optionalNumber(request.blockForMs),
            effectiveInMs: optionalNumber(request.effectiveInMs),
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
    destroyAllSessions: {
      rules: { reason: fields.reason, message: fields.playerMessage },
      onDrain: 'finish',
      // eslint-disable-next-line require-yield, @typescript-eslint/require-await -- to be built
      handle: async function* () {
        throw new Error('not built yet');
      },
    },
  };
}
