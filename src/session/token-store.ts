import { Buffer } from 'node:buffer';
import { SessionClientField, type Session } from '../gen/shardkeep/session/v1/session.js';
import type { Call } from '../redis/call.js';
import { keys } from '../redis/keys.js';
import type { Redis } from '../redis/redis.js';
import { compareClient, SAME_CLIENT } from './client-binding.js';
import { newSalt, successorOf } from './derived-secret.js';
import type { SessionEnding } from './end-message.js';
import { decodeSession, isAuthenticationOlder, isPlainlyValid, PackedSession } from './record.js';
import { indexKeys, sessionKey } from './session-keys.js';
import { destroyByTokenScript, rotateSessionScript, validateSessionScript, type EndedReply } from './token-scripts.js';
import { hashOf, partitionOf, tokenOf, type PresentedToken } from './token.js';
import type { TouchGuesses } from './touch-guesses.js';

export interface ValidateOptions {
  /** `hashClient` of who presents the token. Undefined: nobody said. */
  readonly client: Buffer | undefined;
  /** Undefined: any. */
  readonly maxAuthAgeMs: number | undefined;
}

export interface RotateOptions {
  /** `hashClient` of who presents the token, with `reauthenticated` `hashBoundClient`. Undefined: nobody said. */
  readonly client: Buffer | undefined;
  readonly reauthenticated: boolean;
}

/** A token opens its session; `step_up`: but its user proved who they are longer ago than asked for. */
export interface OpenedSession {
  readonly status: 'valid' | 'step_up';
  readonly session: PackedSession;
  readonly changedFields: readonly SessionClientField[];
}

/** Why a token opens nothing. */
export type NotOpened =
  | { readonly status: 'binding'; readonly changedFields: readonly SessionClientField[] }
  | {
      readonly status: 'ended';
      readonly end: SessionEnding;
      /** This call ended the session: the token must have been stolen. */
      readonly isTheft: boolean;
    }
  | { readonly status: 'unknown' };

export type ValidateSessionResult = OpenedSession | NotOpened;

export type RotateSessionResult =
  | {
      readonly status: 'rotated';
      readonly session: Session;
      readonly sessionToken: string;
      /** Another call with the same token had rotated it before. */
      readonly isRepeated: boolean;
      readonly changedFields: readonly SessionClientField[];
    }
  | NotOpened;

const ANY_AGE = '-1';

/** Sessions on the `state` Redis, by their tokens. */
export class TokenStore {
  constructor(
    private readonly redis: Redis,
    private readonly touches: TouchGuesses,
  ) {}

  /**
   * A plain read decides for most calls: it shares its command with the other reads of the tick, where the script costs
   * Redis ten times as much. The script decides whatever is not plain, and writes the touch when one is due; where that is
   * likely, it is asked at once.
   */
  async validateSession(token: PresentedToken, options: ValidateOptions, call: Call): Promise<ValidateSessionResult> {
    const { sessionId, secretHash } = token;
    const { client, maxAuthAgeMs } = options;
    const session = sessionKey(sessionId, call);
    if (this.touches.isPlain(sessionId, this.redis.clock.nowMs())) {
      const packed = await this.redis.get(session, anyValue, call);
      const result = Buffer.isBuffer(packed) ? this.judgePlainly(packed, token, options) : undefined;
      if (result !== undefined) return result;
    }
    const validate = validateSessionScript.bind(
      { session },
      {
        secretHash: Buffer.from(secretHash, 'hex'),
        client: client ?? '',
        maxAuthAgeMs: maxAuthAgeMs === undefined ? ANY_AGE : String(maxAuthAgeMs),
      },
    );
    let isTheft = false;
    for (;;) {
      const reply = await this.redis.run(validate, call);
      switch (reply.status) {
        case 'valid':
        case 'step_up': {
          const opened = new PackedSession(sessionId, reply.packed, reply);
          this.touches.note(opened);
          return { status: reply.status, session: opened, changedFields: changedFields(reply.packed, client) };
        }
        case 'reused':
          // one key is what this script may have, and an end needs several; the next look tells how the session ended
          isTheft = await this.destroyByToken(token, 'reused', call);
          break;
        case 'binding':
          return { status: 'binding', changedFields: changedFields(reply.packed, client) };
        case 'ended':
          return toEnded({ ...reply, isTheft });
        case 'unknown':
          return reply;
      }
    }
  }

  /** Of callers with one token all get the same new one, within the grace of its rotation. */
  async rotateSession(token: PresentedToken, options: RotateOptions, call: Call): Promise<RotateSessionResult> {
    const { sessionId, secret, secretHash } = token;
    const { client, reauthenticated } = options;
    const salt = newSalt();
    const successor = successorOf(secret, salt);
    const partitionKeys = keys.sessions(call.namespace, partitionOf(sessionId));
    const reply = await this.redis.run(
      rotateSessionScript.bind(
        { session: sessionKey(sessionId, call), ...indexKeys(partitionKeys) },
        {
          sessionId,
          userPrefix: partitionKeys.userPrefix,
          secretHash: Buffer.from(secretHash, 'hex'),
          salt,
          nextHash: Buffer.from(hashOf(successor), 'hex'),
          proof: reauthenticated ? 'renew' : 'keep',
          client: client ?? '',
        },
      ),
      call,
    );
    switch (reply.status) {
      case 'rotated': {
        const { packed } = reply;
        this.touches.note(new PackedSession(sessionId, packed));
        const isRepeated = !reply.salt.equals(salt);
        const current = isRepeated ? successorOf(secret, reply.salt) : successor;
        return {
          status: 'rotated',
          session: decodeSession(sessionId, packed),
          sessionToken: tokenOf(sessionId, current),
          isRepeated,
          changedFields: reauthenticated ? [] : changedFields(packed, client),
        };
      }
      case 'binding':
        return { status: 'binding', changedFields: changedFields(reply.packed, client) };
      case 'ended':
        return toEnded(reply);
      case 'unknown':
        return reply;
    }
  }

  /**
   * Ends the session that a token opens, another one having taken its place (`replaced`), or of which it was a token before
   * (`reused`). Answers whether this call did.
   */
  destroyByToken(token: PresentedToken, why: 'replaced' | 'reused', call: Call): Promise<boolean> {
    const { sessionId, secretHash } = token;
    const partitionKeys = keys.sessions(call.namespace, partitionOf(sessionId));
    return this.redis.run(
      destroyByTokenScript.bind(
        { session: sessionKey(sessionId, call), ...indexKeys(partitionKeys) },
        { sessionId, userPrefix: partitionKeys.userPrefix, secretHash: Buffer.from(secretHash, 'hex'), why },
      ),
      call,
    );
  }

  /** Undefined where the script has to decide. */
  private judgePlainly(
    packed: Buffer,
    { sessionId, secretHash }: PresentedToken,
    { client, maxAuthAgeMs }: ValidateOptions,
  ): ValidateSessionResult | undefined {
    const nowMs = this.redis.clock.nowMs();
    if (!isPlainlyValid(packed, secretHash, nowMs)) return undefined;
    const session = new PackedSession(sessionId, packed);
    const comparison = client === undefined ? SAME_CLIENT : compareClient(packed, client);
    if (comparison.rejected) return { status: 'binding', changedFields: comparison.changedFields };
    const older = maxAuthAgeMs === undefined ? false : isAuthenticationOlder(session, maxAuthAgeMs, nowMs);
    if (older === undefined) return undefined;
    return { status: older ? 'step_up' : 'valid', session, changedFields: comparison.changedFields };
  }
}

function anyValue(value: unknown): unknown {
  return value;
}

function changedFields(packed: Buffer, client: Buffer | undefined): readonly SessionClientField[] {
  return client === undefined ? [] : compareClient(packed, client).changedFields;
}

function toEnded({ cause, reason, message, endedAtMs, isTheft }: EndedReply): NotOpened {
  return { status: 'ended', end: { cause, reason, message, endedAtMs }, isTheft };
}
