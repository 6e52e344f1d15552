import type { Logger } from 'pino';
import { DomainError } from '../errors.js';
import type { Call } from '../redis/call.js';
import { encodeIdentifier, keys, partitionOfUser } from '../redis/keys.js';
import type { Redis } from '../redis/redis.js';
import {
  checkCharacterClaimScript,
  claimCharacterScript,
  getCharacterClaimScript,
  releaseCharacterScript,
  type CheckCharacterClaimReply,
  type Claim,
  type ClaimCharacterReply,
} from './claim-scripts.js';
import { partitionOfSession } from './token.js';

/** A user's character; another user's with the same id is another one. */
export interface Character {
  readonly userId: string;
  readonly characterId: string;
}

/** What to do where another session plays the character. */
export type ClaimPolicy =
  { readonly kind: 'reject' } | { readonly kind: 'takeover' } | { readonly kind: 'drain'; readonly drainMs: number };

export interface NewClaim extends Character {
  readonly sessionId: string;
  /** For people; decides nothing. */
  readonly owner: string;
  readonly policy: ClaimPolicy;
}

export type ClaimCharacterResult = Exclude<ClaimCharacterReply, { status: 'gone' | 'too_many' }>;

/** How long a claim that nobody waits for is tried to be given back; after that it ends with its session. */
const GIVE_BACK_MS = 5_000;

/** Which session plays which character, on the `state` Redis. Every method is one script. */
export class ClaimStore {
  constructor(
    private readonly redis: Redis,
    private readonly logger: Logger,
  ) {}

  /** A claim that comes after the call ended is given back. Throws SESSION_NOT_FOUND, TOO_MANY_CHARACTERS. */
  async claimCharacter(request: NewClaim, call: Call): Promise<ClaimCharacterResult> {
    const { userId, characterId, sessionId, owner, policy } = request;
    const partition = partitionOfUser(userId);
    if (partitionOfSession(sessionId) !== partition) throw sessionNotFound();
    const reply = await this.redis.run(
      claimCharacterScript.bind(
        {
          session: keys.session(call.namespace, partition, sessionId),
          character: characterKey(request, call.namespace),
          events: keys.sessions(call.namespace, partition).events,
        },
        {
          ...{ sessionId, user: encodeIdentifier(userId), characterId, owner },
          policy: policy.kind,
          drainMs: policy.kind === 'drain' ? String(policy.drainMs) : '0',
        },
      ),
      call,
    );
    switch (reply.status) {
      case 'gone':
        throw sessionNotFound();
      case 'too_many':
        throw new DomainError('TOO_MANY_CHARACTERS', 'the session plays or waits for as many characters as it may');
      case 'claimed':
        if (call.ended) this.giveBack(request, reply.claim.epoch, call.namespace);
        return reply;
      case 'draining':
      case 'held':
        return reply;
    }
  }

  /** Answers whether the epoch was that of the current claim; if not, nothing changed. */
  releaseCharacter(character: Character, epoch: number, call: Call): Promise<boolean> {
    return this.redis.run(
      releaseCharacterScript.bind(
        { character: characterKey(character, call.namespace) },
        { epoch: String(epoch), sessionPrefix: sessionPrefix(character, call.namespace) },
      ),
      call,
    );
  }

  /** Undefined: nobody plays it. */
  getCharacterClaim(character: Character, call: Call): Promise<Claim | undefined> {
    return this.redis.run(
      getCharacterClaimScript.bind(
        { character: characterKey(character, call.namespace) },
        { sessionPrefix: sessionPrefix(character, call.namespace) },
      ),
      call,
    );
  }

  /** Answers whether the epoch is that of the current claim. */
  checkCharacterClaim(character: Character, epoch: number, call: Call): Promise<CheckCharacterClaimReply> {
    return this.redis.run(
      checkCharacterClaimScript.bind(
        { character: characterKey(character, call.namespace) },
        { epoch: String(epoch), sessionPrefix: sessionPrefix(character, call.namespace) },
      ),
      call,
    );
  }

  /** On a call of its own, because the one that was granted has ended and may not ask Redis any more. */
  private giveBack(character: Character, epoch: number, namespace: string): void {
    const call: Call = { namespace, deadlineAt: performance.now() + GIVE_BACK_MS, ended: false };
    this.releaseCharacter(character, epoch, call).catch((error: unknown) => {
      this.logger.warn({ err: error }, 'claim that nobody waited for not given back');
    });
  }
}

function characterKey({ userId, characterId }: Character, namespace: string): string {
  return keys.character(namespace, partitionOfUser(userId), userId, characterId);
}

function sessionPrefix({ userId }: Character, namespace: string): string {
  return keys.sessions(namespace, partitionOfUser(userId)).sessionPrefix;
}

function sessionNotFound(): DomainError {
  return new DomainError('SESSION_NOT_FOUND', 'the session is not there, has ended or is not of this user');
}
