import type { SessionServiceService } from '../gen/shardkeep/session/v1/session.js';
import type { Implementation } from '../grpc/rpc.js';
import { integer, optional } from '../grpc/rules.js';
import { partitionOfUser } from '../redis/keys.js';
import type { SessionAudit } from './audit.js';
import { destroyAllSessions, type DestroyProgress } from './destroy-all.js';
import * as fields from './fields.js';
import { optionalNumber } from './fields.js';
import type { SessionStore } from './store.js';
import type { SweepStore } from './sweep-store.js';
import type { Sweepers } from './sweepers.js';
import { partitionOf } from './token.js';

export interface DestroyHandlerOptions {
  readonly store: SessionStore;
  readonly sweeps: SweepStore;
  readonly sweepers: Pick<Sweepers, 'comeBack'>;
  readonly audit: SessionAudit;
}

export function destroyMethods({
  store,
  sweeps,
  sweepers,
  audit,
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
        const destroyed = await store.destroySession(sessionId, { reason, message, effectiveInMs }, call);
        if (destroyed && effectiveInMs !== undefined) {
          sweepers.comeBack(call.namespace, partitionOf(sessionId), effectiveInMs);
        }
        if (destroyed) {
          audit.record({ event: 'destroyed', sessionId, reason, effectiveInMs: effectiveInMs ?? 0 }, call);
        }
        return { destroyed };
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
        if (destroyedCount > 0 && request.effectiveInMs !== undefined) {
          sweepers.comeBack(call.namespace, partitionOfUser(request.userId), Number(request.effectiveInMs));
        }
        audit.record(
          {
            event: 'user_destroyed',
            userId: request.userId,
            count: destroyedCount,
            reason: request.reason,
            keptSessionId: request.keepSessionId,
            blockForMs: Number(request.blockForMs ?? 0n),
            effectiveInMs: Number(request.effectiveInMs ?? 0n),
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
      access: 'admin',
      rules: { reason: fields.reason, message: fields.playerMessage },
      onDrain: 'finish',
      handle: async function* ({ reason, message }, call) {
        // when the stream is gone, nothing tells any more where it came from
        const by = { peer: call.peer };
        let latest: DestroyProgress | undefined;
        try {
          for await (const progress of destroyAllSessions(sweeps, { reason, message }, call)) {
            if (latest === undefined) {
              audit.record({ event: 'all_destroyed', step: 'begun', reason, revokedAtMs: progress.revokedAtMs }, by);
            }
            latest = progress;
            yield {
              destroyedCount: BigInt(progress.destroyedCount),
              revokedAtMs: BigInt(progress.revokedAtMs),
              done: progress.done,
            };
          }
        } finally {
          const { destroyedCount: count = 0, done = false } = latest ?? {};
          audit.record({ event: 'all_destroyed', step: 'ended', reason, count, done }, by);
        }
      },
    },
  };
}
