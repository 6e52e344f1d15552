import type { Buffer } from 'node:buffer';
import * as proto from '../../gen/shardkeep/session/v1/session.js';
import { NotFoundError } from '../errors.js';
import type { Logger } from '../logger.js';
import { MappedStream } from '../rpc/mapped-stream.js';
import type { Rpc } from '../rpc/rpc.js';
import { CALL_OPTIONS, type CallOptions } from '../transport/method.js';
import {
  toClaim,
  toClaimCharacterRequest,
  toClaimCharacterResult,
  toEpochRequest,
  type CharacterClaim,
  type CharacterClaimCheck,
  type CharacterClaimRequest,
  type CharacterEpoch,
  type CharacterRef,
  type ClaimCharacterResult,
} from './character-claims.js';
import {
  toCreateSessionRequest,
  toCreateSessionResult,
  type CreateSessionResult,
  type SessionLogin,
} from './create-session.js';
import {
  toDestroyAllProgress,
  toDestroyAllSessionsRequest,
  toDestroyedUserSessions,
  toDestroySessionRequest,
  toDestroyUserSessionsRequest,
  type DestroyAllProgress,
  type DestroyAllSessionsOptions,
  type DestroyedUserSessions,
  type DestroySessionOptions,
  type DestroyUserSessionsOptions,
} from './end-sessions.js';
import { objectIn, optionsIn, type OptionNames } from '../arguments.js';
import { toInt64, unlessZero } from '../int64.js';
import { ResumingStream } from './resuming-stream.js';
import {
  toRotateSessionRequest,
  toRotateSessionResult,
  type RotateSessionOptions,
  type RotateSessionResult,
} from './rotate-session.js';
import { toSession, type Session } from './session.js';
import { toSessionStats, type SessionStats } from './session-stats.js';
import {
  SessionWatch,
  watchedIn,
  checkWatchOptions,
  type SessionSelection,
  type WatchSessionsOptions,
} from './session-watch.js';
import {
  isRepeatable,
  toUpdateSessionRequest,
  type SessionChanges,
  type UpdateSessionOptions,
} from './update-session.js';
import {
  toValidateSessionRequest,
  toValidateSessionResult,
  unknownWhereMalformed,
  type ValidateSessionOptions,
  type ValidateSessionResult,
} from './validate-session.js';

export interface ExtendSessionOptions extends CallOptions {
  /** How long the session shall live from now without a touch, 1 to 31,536,000,000. */
  readonly ttlMs: number;
}

export interface ListUserSessionsOptions extends CallOptions {
  /** How many sessions to answer at most, 1 to 1,000; 100 by default. */
  readonly limit?: number | undefined;
}

const EXTEND_SESSION_OPTIONS: OptionNames<ExtendSessionOptions> = { ...CALL_OPTIONS, ttlMs: true };
const LIST_USER_SESSIONS_OPTIONS: OptionNames<ListUserSessionsOptions> = { ...CALL_OPTIONS, limit: true };

export interface UserSessions {
  /** Oldest first, at most `limit`. */
  readonly sessions: readonly Session[];
  /** How many live sessions the user has. */
  readonly totalCount: number;
}

/**
 * Who is logged in. A session id is a handle that may be logged; a session token is the credential, which anybody may present:
 * any text is answered. An id comes from the service: what has not its shape is an InvalidArgumentError. Expected outcomes are
 * answers; what else goes wrong is a ShardkeepError: InvalidArgumentError naming the fields, UnavailableError while Redis
 * is away (a session is never taken for valid or for gone without its word). Every call that is safe to retry is retried, within
 * its timeout.
 */
export class Sessions {
  constructor(
    private readonly rpc: Rpc['sessions'],
    private readonly logger: Logger,
  ) {}

  /**
   * Logs a user in, atomically within the limits of the profile. Safe to retry, and retried by itself, by the `requestId`
   * that is made for it: however often it is sent, there is one session. ResourceExhaustedError where the rate policy
   * `session_create` says so: 10 a minute for each user and each `metadata.ip`, unless configured otherwise.
   */
  async createSession(login: SessionLogin, options: CallOptions = {}): Promise<CreateSessionResult> {
    const call = { ...optionsIn(options, CALL_OPTIONS), retrySafe: options.retrySafe ?? true };
    return toCreateSessionResult(await this.rpc.createSession(toCreateSessionRequest(login), call));
  }

  /**
   * Whether a token opens a session now; touches the session. Safe to retry. A text that has not even the shape of a token, as
   * a cookie may bring any, is `unknown` like a token that nobody has; the service counts it as `malformed`.
   */
  async validateSession(sessionToken: string, options: ValidateSessionOptions = {}): Promise<ValidateSessionResult> {
    const request = toValidateSessionRequest(sessionToken, options);
    try {
      return toValidateSessionResult(await this.rpc.validateSession(request, options));
    } catch (error) {
      return unknownWhereMalformed(sessionToken, error);
    }
  }

  /** A live session, which is not touched; undefined where it is not there or has ended. Safe to retry. */
  async getSession(sessionId: string, options: CallOptions = {}): Promise<Session | undefined> {
    optionsIn(options, CALL_OPTIONS);
    try {
      const { session } = await this.rpc.getSession({ sessionId }, options);
      return toSession(session, 'GetSession');
    } catch (error) {
      if (error instanceof NotFoundError) return undefined;
      throw error;
    }
  }

  /**
   * Changes fields in one atomic step, touches the session unless `noTouch`, and answers it as it is then. NotFoundError where
   * it is not there or has ended; AbortedError where it has not the `expectedVersion` (`metadata.current_version` tells
   * which); FailedPreconditionError `OLD_FENCING_TOKEN` where the guard is too low. Retried by itself unless it increments
   * or has an `expectedVersion`.
   */
  async updateSession(
    sessionId: string,
    changes: SessionChanges,
    options: UpdateSessionOptions = {},
  ): Promise<Session> {
    const request = toUpdateSessionRequest(sessionId, changes, options);
    const call = { ...options, retrySafe: options.retrySafe ?? isRepeatable(changes, options) };
    const { session } = await this.rpc.updateSession(request, call);
    return toSession(session, 'UpdateSession');
  }

  /**
   * Touches a session and moves its deadline to `ttlMs` from now, if that is later than what the touch gives, but not past
   * its other ends; `expiresAtMs` of the answer tells what came of it. NotFoundError where it is not there or has ended.
   * Safe to retry.
   */
  async extendSession(sessionId: string, options: ExtendSessionOptions): Promise<Session> {
    const request = proto.ExtendSessionRequest.fromPartial({
      sessionId,
      ttlMs: toInt64(optionsIn(options, EXTEND_SESSION_OPTIONS).ttlMs, 'ttlMs'),
    });
    const { session } = await this.rpc.extendSession(request, options);
    return toSession(session, 'ExtendSession');
  }

  /**
   * Gives a session a new token. The old one works on for the profile's grace (15 seconds unless configured), and rotating it
   * again answers the same new one: so a retry is safe within the grace, and made by itself. Rotating with a token that was
   * replaced before that ends the session: it was stolen. A `timeoutMs` should be shorter than the grace. A text that has not
   * even the shape of a token is `unknown`, as for validateSession.
   */
  async rotateSession(sessionToken: string, options: RotateSessionOptions = {}): Promise<RotateSessionResult> {
    const request = toRotateSessionRequest(sessionToken, options);
    const call = { ...options, retrySafe: options.retrySafe ?? true };
    try {
      return toRotateSessionResult(await this.rpc.rotateSession(request, call));
    } catch (error) {
      return unknownWhereMalformed(sessionToken, error);
    }
  }

  /**
   * Ends a session, or announces that it will end. False: it was not there, had ended, or its end is announced already; also
   * where a lost first try has ended it. Safe to retry.
   */
  async destroySession(sessionId: string, options: DestroySessionOptions = {}): Promise<boolean> {
    const { destroyed } = await this.rpc.destroySession(toDestroySessionRequest(sessionId, options), options);
    return destroyed;
  }

  /** Ends the sessions of a user, and can keep new ones out for a while. Safe to retry: what was cut off goes on. */
  async destroyUserSessions(userId: string, options: DestroyUserSessionsOptions = {}): Promise<DestroyedUserSessions> {
    const request = toDestroyUserSessionsRequest(userId, options);
    return toDestroyedUserSessions(await this.rpc.destroyUserSessions(request, options));
  }

  /**
   * Ends all sessions of the namespace, and refuses logins proved before: what to do when credentials leaked. It begins at
   * once, whether its progress is read or not. When the first progress is there, no login that was proved before gets in any
   * more, and the rest ends also when the stream breaks. Throws ShardkeepError from the loop. Safe to call again.
   */
  destroyAllSessions(options: DestroyAllSessionsOptions = {}): AsyncIterableIterator<DestroyAllProgress, undefined> {
    const request = toDestroyAllSessionsRequest(options);
    return new MappedStream(() => this.rpc.destroyAllSessions(request, options), toDestroyAllProgress).begin();
  }

  /** The live sessions of a user at one moment, which are not touched. Safe to retry. */
  async listUserSessions(userId: string, options: ListUserSessionsOptions = {}): Promise<UserSessions> {
    const { limit } = optionsIn(options, LIST_USER_SESSIONS_OPTIONS);
    const request = proto.ListUserSessionsRequest.fromPartial({ userId, limit });
    const { sessions, totalCount } = await this.rpc.listUserSessions(request, options);
    return { sessions: sessions.map((session) => toSession(session, 'ListUserSessions')), totalCount };
  }

  /**
   * Tells what becomes of some users' sessions, of some sessions or of all; begins at once, and resumes by itself. A watch
   * that cannot be told what it missed is told `resync`.
   */
  watchSessions(selection: SessionSelection, options: WatchSessionsOptions = {}): SessionWatch {
    const { userIds, sessionIds, all, cursor } = watchedIn(selection);
    checkWatchOptions(options);
    const open = (from: Buffer) => this.rpc.watchSessions({ userIds, sessionIds, all, cursor: from });
    return new SessionWatch(new ResumingStream({ open, cursor, logger: this.logger }), cursor, options);
  }

  /**
   * Makes a session the only one that plays a character, under an epoch higher than all before; its end ends the claim. Whoever
   * writes what the character has should send the epoch as fencing token of a guard. A session that claims again what it
   * holds gets a new epoch. NotFoundError where the session is not there, has ended or is another user's;
   * FailedPreconditionError `TOO_MANY_CHARACTERS` where it has 8 others. Safe to retry: the epoch is then that of the last
   * try.
   */
  async claimCharacter(request: CharacterClaimRequest, options: CallOptions = {}): Promise<ClaimCharacterResult> {
    const call = { ...optionsIn(options, CALL_OPTIONS), retrySafe: options.retrySafe ?? true };
    return toClaimCharacterResult(await this.rpc.claimCharacter(toClaimCharacterRequest(request), call));
  }

  /** Gives a claim up; false: the epoch is not that of the current claim. Safe to retry. */
  async releaseCharacter(claim: CharacterEpoch, options: CallOptions = {}): Promise<boolean> {
    const { released } = await this.rpc.releaseCharacter(toEpochRequest(claim), optionsIn(options, CALL_OPTIONS));
    return released;
  }

  /** Who plays a character; undefined: nobody. Safe to retry. */
  async getCharacterClaim(character: CharacterRef, options: CallOptions = {}): Promise<CharacterClaim | undefined> {
    const { userId, characterId } = objectIn(character, 'character');
    const request = proto.GetCharacterClaimRequest.fromPartial({ userId, characterId });
    const { claim } = await this.rpc.getCharacterClaim(request, optionsIn(options, CALL_OPTIONS));
    return claim === undefined ? undefined : toClaim(claim);
  }

  /** Whether an epoch is that of the current claim, and its session live. Safe to retry. */
  async checkCharacterClaim(claim: CharacterEpoch, options: CallOptions = {}): Promise<CharacterClaimCheck> {
    const { valid, drainingUntilMs } = await this.rpc.checkCharacterClaim(
      toEpochRequest(claim),
      optionsIn(options, CALL_OPTIONS),
    );
    return { valid, drainingUntilMs: unlessZero(drainingUntilMs) };
  }

  /** Counts over all sessions of the namespace, for a dashboard and not for every request. Safe to retry. */
  async getSessionStats(options: CallOptions = {}): Promise<SessionStats> {
    return toSessionStats(await this.rpc.getSessionStats({}, optionsIn(options, CALL_OPTIONS)));
  }

  /** Ends what has run out, which the sweepers do by themselves within seconds; answers how many. Safe to retry. */
  async cleanupExpiredSessions(options: CallOptions = {}): Promise<number> {
    return Number((await this.rpc.cleanupExpiredSessions({}, optionsIn(options, CALL_OPTIONS))).expiredCount);
  }
}
