import type { SessionEndCause } from '../../client/index.js';

/** How a session ended, as its player is told. */
export interface SessionEndNotice {
  readonly cause: SessionEndCause;
  /** As given to the call that ended it; otherwise ''. */
  readonly reason: string;
  /** For the player, as given to the call that ended it; otherwise ''. */
  readonly message: string;
}

/** An end that was announced. */
export interface SessionWarning {
  /** When the session will end, Unix milliseconds of Redis's clock. */
  readonly effectiveAtMs: number;
  readonly reason: string;
  readonly message: string;
}

/** The session lost a character to another one. */
export interface CharacterTakenNotice {
  readonly characterId: string;
  /** It is to give it up by then; undefined: it has lost it. */
  readonly effectiveAtMs: number | undefined;
}

/** Why a handshake was refused. */
export type RefusalCode =
  /** It shows no session. */
  | 'missing'
  /** What it shows opens none: there never was one, or it ended more than an hour ago. */
  | 'unknown'
  | 'expired'
  | 'revoked'
  /** It comes from another client than the session was made for. */
  | 'binding'
  /** The user proved who they are too long ago. */
  | 'step_up'
  /** Nobody can tell now: try again later. */
  | 'unavailable';

/** `err.data` of the client's `connect_error`. */
export interface RefusalData {
  readonly code: RefusalCode;
  /** With `unavailable`: when to connect again, which a client that was refused does not do by itself. */
  readonly retryAfterMs?: number;
  /** With `expired` and `revoked`: how the session ended. */
  readonly end?: SessionEndNotice;
}

/** What clients are told. A server with typed events has these too: `Server<In, Out & SessionEvents, Between, Data>`. */
export interface SessionEvents {
  /** The session has ended, and the connection is closed right behind it. */
  'session:ended': (end: SessionEndNotice) => void;
  /** The session will end; told again to whoever connects until then. */
  'session:warned': (warning: SessionWarning) => void;
  'session:character_taken': (taken: CharacterTakenNotice) => void;
  /** A connection that Socket.IO had recovered without a handshake may not go on, and is closed right behind it. */
  'session:refused': (refusal: RefusalData) => void;
}
