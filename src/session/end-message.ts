import { SessionEndCause, type SessionEnd } from '../gen/shardkeep/session/v1/session.js';
import type { EndCause } from './scripts.js';

export interface SessionEnding {
  readonly cause: EndCause;
  readonly reason: string;
  readonly message: string;
  readonly endedAtMs: number;
}

const TO_PROTO: Readonly<Record<EndCause, SessionEndCause>> = {
  destroyed: SessionEndCause.DESTROYED,
  evicted: SessionEndCause.EVICTED,
  expired_idle: SessionEndCause.EXPIRED_IDLE,
  expired_absolute: SessionEndCause.EXPIRED_ABSOLUTE,
  expired_renewal: SessionEndCause.EXPIRED_RENEWAL,
  theft: SessionEndCause.THEFT,
};

/** The session ran out; otherwise somebody or something ended it. */
export function hasExpired({ cause }: SessionEnding): boolean {
  return cause.startsWith('expired');
}

export function toEndCause(cause: EndCause): SessionEndCause {
  return TO_PROTO[cause];
}

export function toSessionEnd({ cause, reason, message, endedAtMs }: SessionEnding): SessionEnd {
  return { cause: TO_PROTO[cause], reason, message, endedAtMs: BigInt(endedAtMs) };
}
