import * as proto from '../../gen/shardkeep/session/v1/session.js';
import { unlessZero } from '../int64.js';
import { foreignAnswer } from './foreign-answer.js';

/** What a session's device counts as; `other` for a platform that is not known, or none. */
export type DeviceClass = 'mobile' | 'web' | 'desktop' | 'console' | 'other';

/** What ended a session; `unknown` is what a newer service tells that this client has no word for. */
export type SessionEndCause =
  'destroyed' | 'evicted' | 'expired_idle' | 'expired_absolute' | 'expired_renewal' | 'theft' | 'unknown';

/** How a session ended, or, as `announcedEnd`, will end. */
export interface SessionEnd {
  readonly cause: SessionEndCause;
  /** As given to the call that ended it, or `replaced`; of a theft `previous` or `older`. Otherwise ''. */
  readonly reason: string;
  /** For the player, as given to the call that ended it. Otherwise ''. */
  readonly message: string;
  readonly endedAtMs: number;
}

/** A live session at one moment, without its secret. Times of day are Unix milliseconds of Redis's clock. */
export interface Session {
  /** The handle; it opens nothing, and may be logged. */
  readonly sessionId: string;
  readonly userId: string;
  readonly username: string | undefined;
  readonly roles: readonly string[];
  readonly permissions: readonly string[];
  readonly organizationId: string | undefined;
  /** The character in play, as the caller says; claimCharacter does not set it. */
  readonly characterId: string | undefined;
  readonly metadata: Readonly<Record<string, string>>;
  readonly createdAtMs: number;
  /** At most one touch granularity before the last activity. */
  readonly lastActiveMs: number;
  /** When it ends if nothing more is done with it. */
  readonly expiresAtMs: number;
  /** When it ends however active it is. */
  readonly absoluteExpiresAtMs: number | undefined;
  /** When the user proved who they are. */
  readonly authenticatedAtMs: number;
  /** Grows with every change of the fields; a touch and a rotation leave it. */
  readonly version: number;
  readonly profile: string;
  /** By when rotateSession must have been called, or it ends. */
  readonly renewByMs: number | undefined;
  readonly announcedEnd: SessionEnd | undefined;
  readonly deviceClass: DeviceClass;
}

const CAUSES: ReadonlyMap<proto.SessionEndCause, SessionEndCause> = new Map([
  [proto.SessionEndCause.DESTROYED, 'destroyed'],
  [proto.SessionEndCause.EVICTED, 'evicted'],
  [proto.SessionEndCause.EXPIRED_IDLE, 'expired_idle'],
  [proto.SessionEndCause.EXPIRED_ABSOLUTE, 'expired_absolute'],
  [proto.SessionEndCause.EXPIRED_RENEWAL, 'expired_renewal'],
  [proto.SessionEndCause.THEFT, 'theft'],
]);

const DEVICE_CLASSES: ReadonlyMap<proto.DeviceClass, DeviceClass> = new Map([
  [proto.DeviceClass.MOBILE, 'mobile'],
  [proto.DeviceClass.WEB, 'web'],
  [proto.DeviceClass.DESKTOP, 'desktop'],
  [proto.DeviceClass.CONSOLE, 'console'],
]);

export function toEndCause(cause: proto.SessionEndCause): SessionEndCause {
  return CAUSES.get(cause) ?? 'unknown';
}

export function toSessionEnd({ cause, reason, message, endedAtMs }: proto.SessionEnd): SessionEnd {
  return { cause: toEndCause(cause), reason, message, endedAtMs: Number(endedAtMs) };
}

/** Of an answer of `rpc` that has a session. */
export function toSession(session: proto.Session | undefined, rpc: string): Session {
  if (session === undefined) throw foreignAnswer(rpc);
  return {
    sessionId: session.sessionId,
    userId: session.userId,
    username: unlessEmpty(session.username),
    roles: session.roles,
    permissions: session.permissions,
    organizationId: unlessEmpty(session.organizationId),
    characterId: unlessEmpty(session.characterId),
    // makes own properties of all keys, also of `__proto__`
    metadata: Object.fromEntries(session.metadata),
    createdAtMs: Number(session.createdAtMs),
    lastActiveMs: Number(session.lastActiveMs),
    expiresAtMs: Number(session.expiresAtMs),
    absoluteExpiresAtMs: unlessZero(session.absoluteExpiresAtMs),
    authenticatedAtMs: Number(session.authenticatedAtMs),
    version: Number(session.version),
    profile: session.profile,
    renewByMs: unlessZero(session.renewByMs),
    announcedEnd: session.announcedEnd === undefined ? undefined : toSessionEnd(session.announcedEnd),
    deviceClass: DEVICE_CLASSES.get(session.deviceClass) ?? 'other',
  };
}

function unlessEmpty(text: string): string | undefined {
  return text === '' ? undefined : text;
}
