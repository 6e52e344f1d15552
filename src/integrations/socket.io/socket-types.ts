import type { ExtendedError, Socket } from 'socket.io';
import type { Session, SessionEndCause } from '../../client/index.js';
import type { RefusalData } from './handshake-refusal.js';

/** What a socket knows of its session. It is refreshed when the session changes; `session` is a new object then. */
export interface SessionSocketData {
  session: Session;
}

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

type Emit<Event extends keyof SessionEvents> = (event: Event, ...told: Parameters<SessionEvents[Event]>) => boolean;

/** What is used of a socket; every `Socket` whose server may emit SessionEvents is one. */
export interface SessionSocket {
  readonly id: string;
  readonly connected: boolean;
  readonly handshake: Socket['handshake'];
  readonly rooms: ReadonlySet<string>;
  readonly conn: {
    readonly readyState: string;
    once(event: 'close', listener: () => void): unknown;
  };
  data: Partial<SessionSocketData>;
  join(rooms: string[]): Promise<void> | void;
  leave(room: string): Promise<void> | void;
  onAny(listener: () => void): unknown;
  offAny(listener: () => void): unknown;
  once(event: 'disconnect', listener: () => void): unknown;
  // as overloads, the events of a typed server would not be compared with these
  readonly emit: Emit<'session:ended'> &
    Emit<'session:warned'> &
    Emit<'session:character_taken'> &
    Emit<'session:refused'>;
  disconnect(close: boolean): unknown;
}

/** What is used of a server or a namespace. By properties, whose types are compared strictly. */
export interface SessionNamespace<AppSocket> {
  readonly use: (middleware: (socket: AppSocket, next: (error?: ExtendedError) => void) => void) => unknown;
  readonly on: (event: 'connect', listener: (socket: NoInfer<AppSocket>) => void) => unknown;
  readonly off: (event: 'connect', listener: (socket: NoInfer<AppSocket>) => void) => unknown;
}
