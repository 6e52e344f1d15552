import * as proto from '../../gen/shardkeep/session/v1/session.js';
import { optionsIn, type OptionNames } from '../arguments.js';
import { STREAM_OPTIONS, type StreamOptions } from '../rpc/stream-channel.js';
import { CALL_OPTIONS, type CallOptions } from '../transport/method.js';
import { toOptionalInt64, unlessZero } from '../int64.js';

/** Why sessions end. */
export interface EndingWords {
  /** For programs: up to 64 bytes. Told to the holder of the token and in the session's last event. */
  readonly reason?: string | undefined;
  /** For the player: up to 256 bytes. */
  readonly message?: string | undefined;
}

export interface DestroySessionOptions extends EndingWords, CallOptions {
  /**
   * Announces the end instead: watchers are told `warned` now, and the session ends that much later, 1 to 86,400,000,
   * however active it is. Of two announcements the earlier end counts.
   */
  readonly effectiveInMs?: number | undefined;
}

export interface DestroyUserSessionsOptions extends DestroySessionOptions {
  /** A session of this user that stays. */
  readonly keepSessionId?: string | undefined;
  /** How long createSession answers `user_blocked`, 1 to 31,536,000,000; 1 lifts a block. Absent: one that is there stays. */
  readonly blockForMs?: number | undefined;
}

export interface DestroyedUserSessions {
  /** How many this call ended, or announced the end of. */
  readonly destroyedCount: number;
  /** Logins proved before are refused. */
  readonly revokedAtMs: number;
  /** Until when the user is, or was last, blocked. */
  readonly blockedUntilMs: number | undefined;
}

export type DestroyAllSessionsOptions = EndingWords & StreamOptions;

const WORDS: OptionNames<EndingWords> = { reason: true, message: true };
const DESTROY_SESSION_OPTIONS: OptionNames<DestroySessionOptions> = { ...WORDS, ...CALL_OPTIONS, effectiveInMs: true };
const DESTROY_USER_SESSIONS_OPTIONS: OptionNames<DestroyUserSessionsOptions> = {
  ...DESTROY_SESSION_OPTIONS,
  keepSessionId: true,
  blockForMs: true,
};
const DESTROY_ALL_SESSIONS_OPTIONS: OptionNames<DestroyAllSessionsOptions> = { ...WORDS, ...STREAM_OPTIONS };

export interface DestroyAllProgress {
  /** How many this call has ended; what the sweepers end meanwhile is not counted. */
  readonly destroyedCount: number;
  /** Logins proved before are refused. */
  readonly revokedAtMs: number;
  /** In the last progress only: every session created before the call has ended. */
  readonly done: boolean;
}

export function toDestroySessionRequest(
  sessionId: string,
  options: DestroySessionOptions,
): proto.DestroySessionRequest {
  optionsIn(options, DESTROY_SESSION_OPTIONS);
  return proto.DestroySessionRequest.fromPartial({
    ...toWords(options),
    sessionId,
    effectiveInMs: toOptionalInt64(options.effectiveInMs, 'effectiveInMs'),
  });
}

export function toDestroyUserSessionsRequest(
  userId: string,
  options: DestroyUserSessionsOptions,
): proto.DestroyUserSessionsRequest {
  optionsIn(options, DESTROY_USER_SESSIONS_OPTIONS);
  return proto.DestroyUserSessionsRequest.fromPartial({
    ...toWords(options),
    userId,
    keepSessionId: options.keepSessionId ?? '',
    blockForMs: toOptionalInt64(options.blockForMs, 'blockForMs'),
    effectiveInMs: toOptionalInt64(options.effectiveInMs, 'effectiveInMs'),
  });
}

export function toDestroyAllSessionsRequest(options: DestroyAllSessionsOptions): proto.DestroyAllSessionsRequest {
  return toWords(optionsIn(options, DESTROY_ALL_SESSIONS_OPTIONS));
}

export function toDestroyedUserSessions(response: proto.DestroyUserSessionsResponse): DestroyedUserSessions {
  return {
    destroyedCount: Number(response.destroyedCount),
    revokedAtMs: Number(response.revokedAtMs),
    blockedUntilMs: unlessZero(response.blockedUntilMs),
  };
}

export function toDestroyAllProgress(response: proto.DestroyAllSessionsResponse): DestroyAllProgress {
  const { destroyedCount, revokedAtMs, done } = response;
  return { destroyedCount: Number(destroyedCount), revokedAtMs: Number(revokedAtMs), done };
}

/** '' where there is none. */
function toWords({ reason, message }: EndingWords): { readonly reason: string; readonly message: string } {
  return { reason: reason ?? '', message: message ?? '' };
}
