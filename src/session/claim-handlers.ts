import { invalidField } from '../errors.js';
import {
  CharacterClaimPolicy,
  ClaimCharacterStatus,
  type CharacterClaim,
  type ClaimCharacterRequest,
  type ClaimCharacterResponse,
  type SessionServiceService,
} from '../gen/shardkeep/session/v1/session.js';
import type { Implementation } from '../grpc/rpc.js';
import { integer, oneOfValues, optional, text } from '../grpc/rules.js';
import type { SessionAudit } from './audit.js';
import type { Claim } from './claim-scripts.js';
import type { ClaimCharacterResult, ClaimPolicy, ClaimStore } from './claim-store.js';
import * as fields from './fields.js';

const MAX_DRAIN_MS = 600_000n;

const characterId = text({ minBytes: 1, maxBytes: 128 });
const epoch = integer({ min: 1n, max: fields.MAX_SAFE });
const policy = oneOfValues<CharacterClaimPolicy>(
  CharacterClaimPolicy.UNSPECIFIED,
  CharacterClaimPolicy.REJECT,
  CharacterClaimPolicy.TAKEOVER,
  CharacterClaimPolicy.TAKEOVER_AFTER_DRAIN,
);

export interface ClaimHandlerOptions {
  readonly claims: ClaimStore;
  readonly audit: SessionAudit;
}

export function claimMethods({
  claims,
  audit,
}: ClaimHandlerOptions): Pick<
  Implementation<typeof SessionServiceService>,
  'claimCharacter' | 'releaseCharacter' | 'getCharacterClaim' | 'checkCharacterClaim'
> {
  return {
    claimCharacter: {
      rules: {
        userId: fields.userId,
        characterId,
        sessionId: fields.sessionId,
        owner: fields.name,
        policy,
        drainMs: optional(integer({ min: 1n, max: MAX_DRAIN_MS })),
      },
      check: (request) => {
        const drains = request.policy === CharacterClaimPolicy.TAKEOVER_AFTER_DRAIN;
        if (drains && request.drainMs === undefined) {
          throw invalidField('drain_ms', 'must be set with TAKEOVER_AFTER_DRAIN');
        }
        if (!drains && request.drainMs !== undefined) {
          throw invalidField('drain_ms', 'may only be set with TAKEOVER_AFTER_DRAIN');
        }
      },
      handle: async (request, call) => {
        const { userId, characterId: id, sessionId, owner } = request;
        const result = await claims.claimCharacter(
          { userId, characterId: id, sessionId, owner, policy: toPolicy(request) },
          call,
        );
        if (result.status === 'claimed' && result.takenFromSessionId !== '') {
          const { takenFromSessionId } = result;
          audit.record({ event: 'character_taken', userId, characterId: id, sessionId, takenFromSessionId }, call);
        }
        return toClaimResponse(result);
      },
    },
    releaseCharacter: {
      rules: { userId: fields.userId, characterId, epoch },
      handle: async (request, call) => ({
        released: await claims.releaseCharacter(request, Number(request.epoch), call),
      }),
    },
    getCharacterClaim: {
      rules: { userId: fields.userId, characterId },
      handle: async (request, call) => {
        const claim = await claims.getCharacterClaim(request, call);
        return { claim: claim === undefined ? undefined : toClaim(claim) };
      },
    },
    checkCharacterClaim: {
      rules: { userId: fields.userId, characterId, epoch },
      handle: async (request, call) => {
        const reply = await claims.checkCharacterClaim(request, Number(request.epoch), call);
        return { valid: reply.valid, drainingUntilMs: reply.valid ? BigInt(reply.drainingUntilMs) : 0n };
      },
    },
  };
}

function toPolicy({ policy: wanted, drainMs }: ClaimCharacterRequest): ClaimPolicy {
  if (wanted === CharacterClaimPolicy.TAKEOVER) return { kind: 'takeover' };
  return drainMs === undefined ? { kind: 'reject' } : { kind: 'drain', drainMs: Number(drainMs) };
}

function toClaimResponse(result: ClaimCharacterResult): ClaimCharacterResponse {
  const answer = { claim: toClaim(result.claim), retryAfterMs: 0n, takenFromSessionId: '' };
  switch (result.status) {
    case 'claimed':
      return { ...answer, status: ClaimCharacterStatus.CLAIMED, takenFromSessionId: result.takenFromSessionId };
    case 'draining':
      return { ...answer, status: ClaimCharacterStatus.DRAINING, retryAfterMs: BigInt(result.retryAfterMs) };
    case 'held':
      return { ...answer, status: ClaimCharacterStatus.HELD };
  }
}

function toClaim({ sessionId, owner, epoch: number, claimedAtMs, drainingUntilMs }: Claim): CharacterClaim {
  return {
    ...{ sessionId, owner, epoch: BigInt(number) },
    claimedAtMs: BigInt(claimedAtMs),
    drainingUntilMs: BigInt(drainingUntilMs),
  };
}
