import type { ExtendedError, Socket } from 'socket.io';
import type { Session } from '../../client/index.js';
import type { SessionEvents } from './notices.js';

/** What a socket knows of its session. It is refreshed when the session changes; `session` is a new object then. */
export interface SessionSocketData {
  session: Session;
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
  // not as overloads, with which the events of a typed server would not be compared
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
