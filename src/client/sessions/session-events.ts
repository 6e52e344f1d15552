import * as proto from '../../gen/shardkeep/session/v1/session.js';
import { unlessZero } from '../int64.js';
import { toEndCause, type SessionEndCause } from './session.js';

/** What every event tells. */
interface EventOfSession {
  /** The same in every telling of the event: an event may be told twice. */
  readonly eventId: string;
  readonly sessionId: string;
  readonly userId: string;
  /** When it happened; of `expired`, when it was noticed. */
  readonly atMs: number;
}

/** It was created, changed by updateSession or extendSession, or has a new token. */
export interface SessionChangedEvent extends EventOfSession {
  readonly type: 'created' | 'updated' | 'rotated';
}

/** Its end was announced. */
export interface SessionWarnedEvent extends EventOfSession {
  readonly type: 'warned';
  readonly reason: string;
  readonly message: string;
  readonly effectiveAtMs: number;
}

/** It lost the claim of a character, or is to give it up by `effectiveAtMs`; checkCharacterClaim tells what came of it. */
export interface CharacterTakenEvent extends EventOfSession {
  readonly type: 'character_taken';
  readonly characterId: string;
  readonly effectiveAtMs: number | undefined;
}

/** It ended; each session has exactly one such event. */
export interface SessionEndedEvent extends EventOfSession {
  readonly type: 'destroyed' | 'expired' | 'evicted' | 'theft';
  readonly cause: SessionEndCause;
  readonly reason: string;
  readonly message: string;
}

/** What a newer service tells of a session that this client has no word for: look at the session. */
export interface UnknownSessionEvent extends EventOfSession {
  readonly type: 'unknown';
}

/** Some events cannot be told: look at what is watched anew (listUserSessions, getSession). Later ones are told. */
export interface ResyncEvent {
  readonly type: 'resync';
}

/** What becomes of a session. */
export type SessionEvent =
  SessionChangedEvent | SessionWarnedEvent | CharacterTakenEvent | SessionEndedEvent | UnknownSessionEvent;

export const RESYNC: ResyncEvent = { type: 'resync' };

const { SessionEventType: Type } = proto;

export function toSessionEvent(event: proto.SessionEvent): SessionEvent {
  const { type, eventId, sessionId, userId, reason, message, characterId } = event;
  const told = { eventId, sessionId, userId, atMs: Number(event.atMs) };
  const ended = { ...told, cause: toEndCause(event.cause), reason, message };
  switch (type) {
    case Type.CREATED:
      return { type: 'created', ...told };
    case Type.UPDATED:
      return { type: 'updated', ...told };
    case Type.ROTATED:
      return { type: 'rotated', ...told };
    case Type.WARNED:
      return { type: 'warned', ...told, reason, message, effectiveAtMs: Number(event.effectiveAtMs) };
    case Type.CHARACTER_TAKEN:
      return { type: 'character_taken', ...told, characterId, effectiveAtMs: unlessZero(event.effectiveAtMs) };
    case Type.DESTROYED:
      return { type: 'destroyed', ...ended };
    case Type.EXPIRED:
      return { type: 'expired', ...ended };
    case Type.EVICTED:
      return { type: 'evicted', ...ended };
    case Type.THEFT:
      return { type: 'theft', ...ended };
    default:
      return { type: 'unknown', ...told };
  }
}
