import { Buffer } from 'node:buffer';
import type { Logger } from 'pino';
import { DomainError } from '../errors.js';
import type { Session } from '../gen/shardkeep/session/v1/session.js';
import type { Call } from '../redis/call.js';
import { encodeIdentifier, keys, partitionOfUser, type SessionKeys } from '../redis/keys.js';
import type { Redis } from '../redis/redis.js';
import { ChangeAnnouncer } from './change-announcer.js';
import { deviceClassOf } from './device-class.js';
import type { SessionEnding } from './end-message.js';
import type { SessionTerms } from './profiles.js';
import { decodeSession, encodeRecord, isPlainlyValid, PackedSession, type SessionContent } from './record.js';
import {
  createSessionScript,
  destroySessionScript,
  destroyUserSessionsScript,
  extendSessionScript,
  getSessionScript,
  listUserSessionsScript,
  updateSessionScript,
  validateSessionScript,
} from './scripts.js';
import { createToken, partitionOf } from './token.js';

export interface NewSession {
  readonly userId: string;
  readonly content: SessionContent;
  readonly terms: SessionTerms;
  /** Undefined: now. */
  readonly authenticatedAtMs: number | undefined;
}

export type CreateSessionResult =
  | {
      readonly status: 'created';
      readonly session: Session;
      readonly sessionToken: string;
      readonly evictedSessionIds: string[];
    }
  | { readonly status: 'limit'; readonly liveSessions: Session[] }
  | { readonly status: 'blocked'; readonly blockedUntilMs: number }
  | { readonly status: 'revoked' };

export type ValidateSessionResult =
  | { readonly status: 'valid'; readonly session: PackedSession }
  | { readonly status: 'ended'; readonly end: SessionEnding }
  | { readonly status: 'unknown' };

export interface EndingWords {
  readonly reason: string;
  readonly message: string;
}

export interface EndOptions extends EndingWords {
  /** Undefined: now. Otherwise the end is announced. */
  readonly effectiveInMs?: number | undefined;
}

export interface DestroyUserSessionsOptions extends EndOptions {
  /** '': none. */
  readonly keepSessionId: string;
  /** Undefined: the block stays as it is. */
  readonly blockForMs: number | undefined;
}

/** How many sessions the answer SESSION_LIMIT lists. */
const MAX_LISTED_AT_LIMIT = 100;
/** How many sessions one script ends, so that Redis is never held for long. */
const MAX_ENDED_A_STEP = 200;
/** How long a user's revoked_at is remembered. */
const REVOCATION_RETENTION_MS = 30 * 86_400_000;
/** For giving back what nobody waited for. */
const GIVE_BACK_TIMEOUT_MS = 5_000;

/** Sessions on the `state` Redis. Only createSession brings one into being. */
export class SessionStore {
  private readonly announcer: ChangeAnnouncer;

  constructor(
    private readonly redis: Redis,
    private readonly logger: Logger,
  ) {
    this.announcer = new ChangeAnnouncer(redis, logger);
  }

  async createSession(request: NewSession, call: Call): Promise<CreateSessionResult> {
    const { userId, content, terms, authenticatedAtMs } = request;
    const token = createToken(userId);
    const partition = partitionOfUser(userId);
    const partitionKeys = keys.sessions(call.namespace, partition);
    const user = encodeIdentifier(userId);
    const reply = await this.redis.run(
      createSessionScript.bind(
        {
          session: partitionKeys.sessionPrefix + token.sessionId,
          user: partitionKeys.userPrefix + user,
          revocation: keys.revocation(call.namespace, partition, userId),
          ...indexKeys(partitionKeys),
        },
        {
          sessionId: token.sessionId,
          secretHash: Buffer.from(token.secretHash, 'hex'),
          user,
          idleTtlMs: String(terms.idleTtlMs),
          absoluteTtlMs: String(terms.absoluteTtlMs),
          touchGranularityMs: String(terms.touchGranularityMs),
          maxSessions: String(terms.maxSessions),
          atLimit: terms.atLimit,
          authenticatedAtMs: String(authenticatedAtMs ?? 0),
          record: encodeRecord(content),
          maxListed: String(MAX_LISTED_AT_LIMIT),
          rotationGraceMs: String(terms.rotationGraceMs),
          renewalTtlMs: String(terms.renewalTtlMs),
          deviceClass: String(deviceClassOf(content.metadata.get('platform'))),
        },
      ),
      call,
    );
    if (reply.status !== 'created') return reply;
    if (call.ended) this.giveBack(token.sessionId, call.namespace);
    return {
      status: 'created',
      session: decodeSession(token.sessionId, reply.packed),
      sessionToken: token.sessionToken,
      evictedSessionIds: reply.evictedSessionIds,
    };
  }

  /**
   * A plain read decides for most calls: it shares its command with the other reads of the tick, where the script costs
   * Redis ten times as much. The script decides whatever is not plainly valid, and writes the touch when one is due.
   */
  async validateSession(sessionId: string, secretHash: string, call: Call): Promise<ValidateSessionResult> {
    const session = sessionKey(sessionId, call);
    const packed = await this.redis.get(session, anyValue, call);
    if (Buffer.isBuffer(packed) && isPlainlyValid(packed, secretHash, this.redis.clock.nowMs())) {
      return { status: 'valid', session: new PackedSession(sessionId, packed) };
    }
    const reply = await this.redis.run(
      validateSessionScript.bind({ session }, { secretHash: Buffer.from(secretHash, 'hex') }),
      call,
    );
    switch (reply.status) {
      case 'valid':
        return { status: 'valid', session: new PackedSession(sessionId, reply.packed, reply) };
      case 'ended': {
        const { cause, reason, message, endedAtMs } = reply;
        return { status: 'ended', end: { cause, reason, message, endedAtMs } };
      }
      case 'unknown':
        return reply;
    }
  }

  /** Throws SESSION_NOT_FOUND. */
  async getSession(sessionId: string, call: Call): Promise<Session> {
    const packed = await this.redis.run(getSessionScript.bind({ session: sessionKey(sessionId, call) }, {}), call);
    if (packed === undefined) throw sessionNotFound();
    return decodeSession(sessionId, packed);
  }

  /**
   * Changes a session by compare-and-set on its version: `change` is applied again to what a racing update left, so that
   * none is lost. With `expectedVersion` a session of another version throws VERSION_MISMATCH instead.
   */
  async updateSession(
    sessionId: string,
    change: (content: SessionContent) => SessionContent,
    options: { readonly expectedVersion: bigint | undefined; readonly touch: boolean },
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
        updateSessionScript.bind({ session }, { version, touch: options.touch ? 'touch' : 'keep', record }),
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

  /** Touches a session and moves its deadline to `ttlMs` from now where that is later. Throws SESSION_NOT_FOUND. */
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

  /** Ends a session whose token nobody received, so that it does not count against the user's limit. */
  private giveBack(sessionId: string, namespace: string): void {
    const call: Call = { namespace, deadlineAt: performance.now() + GIVE_BACK_TIMEOUT_MS, ended: false };
    this.destroySession(sessionId, { reason: 'unclaimed', message: '' }, call).catch((error: unknown) => {
      this.logger.warn({ sessionId, err: error }, 'unclaimed session not given back');
    });
  }
}

function anyValue(value: unknown): unknown {
  return value;
}

function sessionKey(sessionId: string, call: Call): string {
  return keys.session(call.namespace, partitionOf(sessionId), sessionId);
}

function indexKeys({
  deadlines,
  counters,
  events,
}: SessionKeys): Pick<SessionKeys, 'deadlines' | 'counters' | 'events'> {
  return { deadlines, counters, events };
}

function sessionNotFound(): DomainError {
  return new DomainError('SESSION_NOT_FOUND', 'the session is not there or has ended');
}
