import { CharacterClaimPolicy, type SessionServiceService } from '../gen/shardkeep/session/v1/session.js';
import type { Implementation } from '../grpc/rpc.js';
import { integer, oneOfValues, optional, text } from '../grpc/rules.js';
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

export function claimMethods(
  _: unknown,
): Pick<
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
      handle: () => Promise.reject(new Error('not built yet')),
    },
    releaseCharacter: {
      rules: { userId: fields.userId, characterId, epoch },
      handle: () => Promise.reject(new Error('not built yet')),
    },
    getCharacterClaim: {
      rules: { userId: fields.userId, characterId },
      handle: () => Promise.reject(new Error('not built yet')),
    },
    checkCharacterClaim: {
      rules: { userId: fields.userId, characterId, epoch },
      handle: () => Promise.reject(new Error('not built yet')),
    },
  };
}
