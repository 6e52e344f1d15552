import type { Session } from '../../client/index.js';
import type { SessionCredential } from '../http/session-credential.js';
import type { SessionEndNotice } from './notices.js';
import type { SessionSocket } from './socket-types.js';

/** A socket that was let in. */
export interface TrackedSocket<AppSocket extends SessionSocket> {
  readonly socket: AppSocket;
  readonly of: TrackedSession<AppSocket>;
  readonly onActivity: () => void;
  /** It is connected: the application knows it. */
  isOnline: boolean;
  /** How its session ended before that. */
  end: SessionEndNotice | undefined;
}

/** A session that has sockets in this process. */
export interface TrackedSession<AppSocket extends SessionSocket> {
  readonly sessionId: string;
  session: Session;
  /** What the last of its sockets was let in by. */
  credential: SessionCredential;
  /** By performance.now(). */
  touchDueAt: number;
  readonly sockets: Set<TrackedSocket<AppSocket>>;
}

export interface TrackedSessionsOptions<AppSocket extends SessionSocket> {
  /** The first socket of a user is connected, or the last one gone. */
  readonly onStatus: (userId: string, status: 'online' | 'offline') => void;
  /** A client sent something. */
  readonly onActivity: (session: TrackedSession<AppSocket>) => void;
}

export interface LetIn {
  readonly session: Session;
  readonly credential: SessionCredential;
  /** By performance.now(). */
  readonly touchDueAt: number;
}

/** The sockets of this process by their sessions. Each is forgotten when it is gone, also where it never got connected. */
export class TrackedSessions<AppSocket extends SessionSocket> {
  private readonly sessions = new Map<string, TrackedSession<AppSocket>>();
  private readonly sockets = new Map<AppSocket, TrackedSocket<AppSocket>>();
  /** How many sockets of each user are connected. */
  private readonly online = new Map<string, number>();
  /** The sockets of each connection: one, or one for each namespace. */
  private readonly byConnection = new WeakMap<AppSocket['conn'], Set<TrackedSocket<AppSocket>>>();

  constructor(private readonly options: TrackedSessionsOptions<AppSocket>) {}

  get socketCount(): number {
    return this.sockets.size;
  }

  get userCount(): number {
    return this.online.size;
  }

  get sessionIds(): readonly string[] {
    return [...this.sessions.keys()];
  }

  find(sessionId: string): TrackedSession<AppSocket> | undefined {
    return this.sessions.get(sessionId);
  }

  isOnline(userId: string): boolean {
    return this.online.has(userId);
  }

  add(socket: AppSocket, { session, credential, touchDueAt }: LetIn): void {
    // Socket.IO does not connect it any more, and nothing would tell of its end
    if (socket.conn.readyState !== 'open') return;
    const { sessionId } = session;
    const of = this.sessions.get(sessionId) ?? { sessionId, session, credential, touchDueAt, sockets: new Set() };
    this.sessions.set(sessionId, of);
    of.credential = credential;
    of.touchDueAt = touchDueAt;
    const onActivity = (): void => {
      this.options.onActivity(of);
    };
    const tracked: TrackedSocket<AppSocket> = { socket, of, onActivity, isOnline: false, end: undefined };
    of.sockets.add(tracked);
    this.sockets.set(socket, tracked);
    this.refresh(session);
    socket.data.session = of.session;
    socket.onAny(onActivity);
    socket.once('disconnect', () => {
      this.drop(tracked);
    });
    this.addToConnection(tracked);
  }

  /** The socket is connected. Undefined: it was never let in. */
  connect(socket: AppSocket): TrackedSocket<AppSocket> | undefined {
    const tracked = this.sockets.get(socket);
    if (tracked === undefined || tracked.isOnline) return tracked;
    tracked.isOnline = true;
    const { userId } = tracked.of.session;
    const count = this.online.get(userId) ?? 0;
    this.online.set(userId, count + 1);
    if (count === 0) this.options.onStatus(userId, 'online');
    return tracked;
  }

  /** Takes what was read of a session, unless something newer is known. */
  refresh(session: Session): void {
    const tracked = this.sessions.get(session.sessionId);
    if (tracked === undefined || !isNewer(session, tracked.session)) return;
    tracked.session = session;
    for (const { socket } of tracked.sockets) socket.data.session = session;
  }

  /** Lets go of all sockets, which stay. */
  clear(): void {
    for (const { socket, onActivity } of this.sockets.values()) socket.offAny(onActivity);
    this.sockets.clear();
    this.sessions.clear();
    this.online.clear();
  }

  private addToConnection(tracked: TrackedSocket<AppSocket>): void {
    const { conn } = tracked.socket;
    let ofConnection = this.byConnection.get(conn);
    if (ofConnection === undefined) {
      const sockets = new Set<TrackedSocket<AppSocket>>();
      // a socket that another middleware refuses, or whose connection breaks in one, has no `disconnect`
      conn.once('close', () => {
        for (const each of [...sockets]) this.drop(each);
      });
      this.byConnection.set(conn, sockets);
      ofConnection = sockets;
    }
    for (const other of [...ofConnection]) {
      // one connection may be refused often
      if (!other.socket.connected && other.socket.rooms.size === 0) this.drop(other);
    }
    ofConnection.add(tracked);
  }

  private drop(tracked: TrackedSocket<AppSocket>): void {
    const { socket, of } = tracked;
    this.byConnection.get(socket.conn)?.delete(tracked);
    if (!this.sockets.delete(socket)) return;
    of.sockets.delete(tracked);
    if (of.sockets.size === 0) this.sessions.delete(of.sessionId);
    if (!tracked.isOnline) return;
    const { userId } = of.session;
    const count = (this.online.get(userId) ?? 0) - 1;
    if (count > 0) this.online.set(userId, count);
    else {
      this.online.delete(userId);
      this.options.onStatus(userId, 'offline');
    }
  }
}

function isNewer(read: Session, known: Session): boolean {
  return read.version > known.version || (read.version === known.version && read.lastActiveMs >= known.lastActiveMs);
}
