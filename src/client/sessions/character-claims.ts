import * as proto from '../../gen/shardkeep/session/v1/session.js';
import { objectIn, optionsIn, wordIn, type OptionNames } from '../arguments.js';
import { foreignAnswer } from './foreign-answer.js';
import { toInt64, toOptionalInt64, unlessZero } from '../int64.js';

/** A character; of another user, the same id is another one. */
export interface CharacterRef {
  /** 1 to 128 bytes. */
  readonly userId: string;
  /** 1 to 128 bytes. */
  readonly characterId: string;
}

/** The claim of a character, by its epoch. */
export interface CharacterEpoch extends CharacterRef {
  readonly epoch: number;
}

/**
 * What claimCharacter does when another session holds the character: `reject` answers `held`, `takeover` takes it at once,
 * `takeover_after_drain` gives the other `drainMs` to give it up.
 */
export type CharacterClaimPolicy = 'reject' | 'takeover' | 'takeover_after_drain';

export interface CharacterClaimRequest extends CharacterRef {
  /** The session that is to play it; of this user, else NotFoundError. */
  readonly sessionId: string;
  /** Which shard or server asks, for those who look; up to 128 bytes. Decides nothing. */
  readonly owner?: string | undefined;
  /** `reject` where it is absent. */
  readonly policy?: CharacterClaimPolicy | undefined;
  /** With `takeover_after_drain`, and only then: 1 to 600,000. */
  readonly drainMs?: number | undefined;
}

/** Who is in the way of a claim. */
export interface CharacterRival {
  readonly sessionId: string;
  readonly owner: string;
  /** Undefined: it does not play the character, but is next in line for it. */
  readonly epoch: number | undefined;
  readonly claimedAtMs: number | undefined;
  /** When its claim ends at the latest, because another session is next. */
  readonly drainingUntilMs: number | undefined;
}

/** Who plays a character. */
export interface CharacterClaim extends CharacterRival {
  /** Higher than all epochs of the character before: the fencing token of what is written for it. */
  readonly epoch: number;
  readonly claimedAtMs: number;
}

export type ClaimCharacterResult =
  | {
      readonly status: 'claimed';
      readonly claim: CharacterClaim;
      /** After a takeover: the session that lost it; undefined in the answer to a retry. */
      readonly takenFromSessionId: string | undefined;
    }
  /** Another session plays it, or is next in line. Nothing changed. */
  | { readonly status: 'held'; readonly claim: CharacterRival }
  | {
      /** Another session plays it and is to give it up; the caller's is next: call again. */
      readonly status: 'draining';
      readonly claim: CharacterRival;
      /** At the latest after that; before, a call tells whether it was released. */
      readonly retryAfterMs: number;
    };

export interface CharacterClaimCheck {
  /** The epoch is that of the current claim, whose session is live and whose time to drain is not over. */
  readonly valid: boolean;
  /** When it is to be given up by. */
  readonly drainingUntilMs: number | undefined;
}

const CLAIM_REQUEST: OptionNames<CharacterClaimRequest> = {
  userId: true,
  characterId: true,
  sessionId: true,
  owner: true,
  policy: true,
  drainMs: true,
};

const POLICIES = {
  reject: proto.CharacterClaimPolicy.REJECT,
  takeover: proto.CharacterClaimPolicy.TAKEOVER,
  takeover_after_drain: proto.CharacterClaimPolicy.TAKEOVER_AFTER_DRAIN,
} as const satisfies Record<CharacterClaimPolicy, proto.CharacterClaimPolicy>;

export function toClaimCharacterRequest(request: CharacterClaimRequest): proto.ClaimCharacterRequest {
  optionsIn(objectIn(request, 'request'), CLAIM_REQUEST);
  const { userId, characterId, sessionId, owner = '', policy = 'reject', drainMs } = request;
  return proto.ClaimCharacterRequest.fromPartial({
    ...{ userId, characterId, sessionId, owner },
    policy: wordIn(POLICIES, policy, 'policy'),
    drainMs: toOptionalInt64(drainMs, 'drainMs'),
  });
}

export function toClaimCharacterResult(response: proto.ClaimCharacterResponse): ClaimCharacterResult {
  const { status, claim, retryAfterMs, takenFromSessionId } = response;
  if (claim === undefined) throw foreignAnswer('ClaimCharacter');
  switch (status) {
    case proto.ClaimCharacterStatus.CLAIMED:
      return {
        status: 'claimed',
        claim: toClaim(claim),
        takenFromSessionId: takenFromSessionId === '' ? undefined : takenFromSessionId,
      };
    case proto.ClaimCharacterStatus.HELD:
      return { status: 'held', claim: toRival(claim) };
    case proto.ClaimCharacterStatus.DRAINING:
      return { status: 'draining', claim: toRival(claim), retryAfterMs: Number(retryAfterMs) };
    default:
      throw foreignAnswer('ClaimCharacter');
  }
}

export function toEpochRequest(claim: CharacterEpoch): proto.ReleaseCharacterRequest {
  const { userId, characterId, epoch } = objectIn(claim, 'claim');
  return proto.ReleaseCharacterRequest.fromPartial({ userId, characterId, epoch: toInt64(epoch, 'epoch') });
}

export function toClaim(claim: proto.CharacterClaim): CharacterClaim {
  return { ...toRival(claim), epoch: Number(claim.epoch), claimedAtMs: Number(claim.claimedAtMs) };
}

function toRival({ sessionId, owner, epoch, claimedAtMs, drainingUntilMs }: proto.CharacterClaim): CharacterRival {
  return {
    sessionId,
    owner,
    epoch: unlessZero(epoch),
    claimedAtMs: unlessZero(claimedAtMs),
    drainingUntilMs: unlessZero(drainingUntilMs),
  };
}
