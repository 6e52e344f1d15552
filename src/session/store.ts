import { Buffer } from 'node:buffer';
import type { Logger } from 'pino';
import { DomainError } from '../errors.js';
import type { Session } from '../gen/shardkeep/session/v1/session.js';
import type { Call } from '../redis/call.js';
import { packMark, type Guard } from '../redis/guard.js';
import { encodeIdentifier, keys, partitionOfUser } from '../redis/keys.js';
import type { Redis } from '../redis/redis.js';
import { ChangeAnnouncer } from './change-announcer.js';
import { decodeSession, encodeRecord, type SessionContent } from './record.js';
import {
  destroySessionScript,
  destroyUserSessionsScript,
  extendSessionScript,
  getSessionScript,
  listUserSessionsScript,
  updateSessionScript,
} from './scripts.js';
import { indexKeys, sessionKey } from './session-keys.js';
import { partitionOf } from './token.js';
import { Turns } from './turns.js';

export interface EndingWords {
  readonly reason: string;
  readonly message: string;
}

export interface EndOptions extends EndingWords {
  /** Undefined: now. Otherwise the end is announced. */
  readonly effectiveInMs?: number | undefined;
}

export interface UpdateSessionOptions {
  /** Undefined: whatever its version. */
  readonly expectedVersion: bigint | undefined;
  readonly touch: boolean;
  readonly guard: Guard | undefined;
}

export interface DestroyUserSessionsOptions extends EndOptions {
  /** '': none. */
  readonly keepSessionId: string;
  /** Undefined: the block stays as it is. */
  readonly blockForMs: number | undefined;
}

/** How many sessions one script ends, so that Redis is never held for long. */
const MAX_ENDED_A_STEP = 200;
/** How long a user's revoked_at is remembered. */
const REVOCATION_RETENTION_MS = 30 * 86_400_000;

/** Sessions on the `state` Redis, by their id or user. LoginStore brings them into being. */
export class SessionStore {
  private readonly announcer: ChangeAnnouncer;
  private readonly updates = new Turns();

  constructor(
    private readonly redis: Redis,
    logger: Logger,
  ) {
    this.announcer = new ChangeAnnouncer(redis, logger);
  }

  /** Throws SESSION_NOT_FOUND. */
  async getSession(sessionId: string, call: Call): Promise<Session> {
    const packed = await this.redis.run(getSessionScript.bind({ session: sessionKey(sessionId, call) }, {}), call);
    if (packed === undefined) throw sessionNotFound();
    return decodeSession(sessionId, packed);
  }

  /**
   * Changes a session by compare-and-set on its version: `change` is applied again to what a racing update left, so that
   * none is lost. With `expectedVersion` a session of another version throws VERSION_MISMATCH instead. Throws
   * OLD_FENCING_TOKEN, TOO_MANY_GUARDS where the session refuses the guard.
   */
  updateSession(
    sessionId: string,
    change: (content: SessionContent) => SessionContent,
    options: UpdateSessionOptions,
    call: Call,
  ): Promise<Session> {
    return this.updates.take(sessionKey(sessionId, call), () => this.compareAndSet(sessionId, change, options, call));
  }

  /**
   * Touches a session and moves its deadline to `ttlMs` from now where that is later, of which watchers are told; of a touch
   * they are not. Throws SESSION_NOT_FOUND.
   */
  async extendSession(sessionId: string, ttlMs: number, call: Call): Promise<Session> {
    const replied = this.redis.run(
      extendSessionScript.bind({ session: sessionKey(sessionId, call) }, { ttlMs: String(ttlMs) }),
      call,
    );
    this.announcer.follow(
      replied.then(({ status }) => status === 'extended'),
      sessionId,
      call,
    );
    const reply = await replied;
    if (reply.status === 'gone') throw sessionNotFound();
    return decodeSession(sessionId, reply.packed, reply);
  }

  /** Answers whether this call ended the session or announced its end. */
  destroySession(sessionId: string, { reason, message, effectiveInMs }: EndOptions, call: Call): Promise<boolean> {
    const partitionKeys = keys.sessions(call.namespace, partitionOf(sessionId));
    const session = sessionKey(sessionId, call);
    return this.redis.run(
      destroySessionScript.bind(
        { session, ...indexKeys(partitionKeys) },
        {
          sessionId,
          userPrefix: partitionKeys.userPrefix,
          reason,
          message,
          effectiveInMs: String(effectiveInMs ?? 0),
        },
      ),
      call,
    );
  }

  async destroyUserSessions(
    userId: string,
    options: DestroyUserSessionsOptions,
    call: Call,
  ): Promise<{ readonly destroyedCount: number; readonly revokedAtMs: number; readonly blockedUntilMs: number }> {
    const { keepSessionId, blockForMs, effectiveInMs, reason, message } = options;
    const partition = partitionOfUser(userId);
    const partitionKeys = keys.sessions(call.namespace, partition);
    const user = encodeIdentifier(userId);
    let destroyedCount = 0;
    let cursor = '';
    for (;;) {
      const step = await this.redis.run(
        destroyUserSessionsScript.bind(
          {
            user: partitionKeys.userPrefix + user,
            revocation: keys.revocation(call.namespace, partition, userId),
            ...indexKeys(partitionKeys),
          },
          {
            user,
            sessionPrefix: partitionKeys.sessionPrefix,
            keepId: keepSessionId,
            reason,
            message,
            blockForMs: String(blockForMs ?? 0),
            maxEnded: String(MAX_ENDED_A_STEP),
            retentionMs: String(REVOCATION_RETENTION_MS),
            effectiveInMs: String(effectiveInMs ?? 0),
            cursor,
          },
        ),
        call,
      );
      destroyedCount += step.destroyed;
      ({ cursor } = step);
      if (cursor === '') {
        return { destroyedCount, revokedAtMs: Number(step.revokedAtUs / 1_000n), blockedUntilMs: step.blockedUntilMs };
      }
    }
  }

  listUserSessions(
    userId: string,
    maxListed: number,
    call: Call,
  ): Promise<{ readonly totalCount: number; readonly sessions: Session[] }> {
    const { userPrefix, sessionPrefix } = keys.sessions(call.namespace, partitionOfUser(userId));
    return this.redis.run(
      listUserSessionsScript.bind(
        { user: userPrefix + encodeIdentifier(userId) },
        { sessionPrefix, maxListed: String(maxListed) },
      ),
      call,
    );
  }

  private async compareAndSet(
    sessionId: string,
    change: (content: SessionContent) => SessionContent,
    options: UpdateSessionOptions,
    call: Call,
  ): Promise<Session> {
    const session = sessionKey(sessionId, call);
    for (let tries = 0; ; tries++) {
      const current = await this.getSession(sessionId, call);
      if (options.expectedVersion !== undefined && current.version !== options.expectedVersion) {
        throw new DomainError('VERSION_MISMATCH', 'the session has another version', {
          metadata: { current_version: String(current.version) },
        });
      }
      const version = Buffer.alloc(8);
      version.writeBigUInt64BE(current.version);
      const record = encodeRecord({ ...change(current), profile: current.profile });
      const replied = this.redis.run(
        updateSessionScript.bind(
          { session },
          { version, touch: options.touch ? 'touch' : 'keep', record, guard: packMark(options.guard) },
        ),
        call,
      );
      this.announcer.follow(
        replied.then(({ status }) => status === 'updated'),
        sessionId,
        call,
        // where one was in the way there are more
        { contended: tries > 0 },
      );
      const reply = await replied;
      if (reply.status === 'updated') return decodeSession(sessionId, reply.packed);
      if (reply.status === 'gone') throw sessionNotFound();
    }
  }
}

function sessionNotFound(): DomainError {
  return new DomainError('SESSION_NOT_FOUND', 'the session is not there or has ended');
}
