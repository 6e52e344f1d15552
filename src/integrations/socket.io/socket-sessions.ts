import { performance } from 'node:perf_hooks';
import {
  NotFoundError,
  ShardkeepError,
  type Logger,
  type ResyncEvent,
  type Session,
  type SessionEvent,
  type Sessions,
} from '../../client/index.js';
import { Admissions } from './admissions.js';
import { clientOf, credentialOf } from './handshake-credential.js';
import { HandshakeRefusal, refusedByEnd, unavailable } from './handshake-refusal.js';
import { loggerOf } from '../http/logger.js';
import { TOUCH_MS } from '../http/session-check.js';
import { openSession, sessionIdOf } from './open-session.js';
import type { ShardkeepSessionsOptions } from './options.js';
import { OutageLog } from './outage-log.js';
import { Recheck } from './recheck.js';
import { SessionFeed } from './session-feed.js';
import type { SessionEndNotice } from './notices.js';
import type { SessionSocket } from './socket-types.js';
import { TrackedSessions, type TrackedSession, type TrackedSocket } from './tracked-sessions.js';

const HANDSHAKE_TIMEOUT_MS = 5_000;
const TOUCH_EVERY_MS = 60_000;
/** Of a session that is gone, and nobody knows how. */
const UNTOLD: SessionEndNotice = { cause: 'unknown', reason: '', message: '' };

/** Lets sockets in by their sessions, and sees to it that none outlives its session. */
export class SocketSessions<AppSocket extends SessionSocket> {
  readonly tracked: TrackedSessions<AppSocket>;
  readonly admissions = new Admissions();
  private readonly sessions: Sessions;
  private readonly feed: SessionFeed;
  private readonly recheck: Recheck;
  private readonly handshakes: OutageLog;
  private readonly touches: OutageLog;
  private readonly logger: Logger;
  private readonly touchEveryMs: number;
  private isClosed = false;

  constructor(private readonly options: ShardkeepSessionsOptions<AppSocket>) {
    const { client, touchEveryMs = TOUCH_EVERY_MS } = options;
    const logger = loggerOf(options.logger);
    this.logger = logger;
    this.sessions = client.sessions;
    this.touchEveryMs = touchEveryMs;
    this.handshakes = new OutageLog(logger, 'handshakes are refused: nobody can tell whose sessions these are');
    this.touches = new OutageLog(logger, 'sessions of active sockets could not be touched');
    this.tracked = new TrackedSessions({
      onStatus: (userId, status) => {
        this.callBack(() => options.onStatus?.({ userId, status }));
      },
      onActivity: (session) => {
        this.touchWhenDue(session);
      },
    });
    this.recheck = new Recheck({
      check: (sessionId) => this.look(sessionId),
      outage: new OutageLog(logger, 'sessions of connected sockets could not be looked at; they are tried again'),
    });
    this.feed = new SessionFeed({
      sessions: this.sessions,
      logger,
      onEvent: (event) => {
        this.take(event);
      },
    });
  }

  /** Before a socket is connected. Answers why it may not be; never throws. */
  readonly admit = async (socket: AppSocket): Promise<HandshakeRefusal | undefined> => {
    try {
      await this.letIn(socket);
      this.handshakes.succeeded();
      return undefined;
    } catch (error) {
      if (error instanceof HandshakeRefusal) return error;
      this.handshakes.failed(error);
      return unavailable(error instanceof ShardkeepError ? error.retryAfterMs : undefined);
    }
  };

  /** When a socket is connected. */
  readonly connect = (socket: AppSocket): void => {
    if (this.isClosed) return;
    const tracked = this.tracked.connect(socket);
    if (tracked === undefined) void this.admitLate(socket);
    else if (tracked.end !== undefined) this.kick([tracked], tracked.end);
    else this.warnAgain(tracked);
  };

  close(): void {
    this.isClosed = true;
    this.feed.close();
    this.recheck.close();
    this.tracked.clear();
  }

  private async letIn(socket: AppSocket): Promise<void> {
    const { options } = this;
    const { handshakeTimeoutMs = HANDSHAKE_TIMEOUT_MS, maxAuthAgeMs, requiredClientFields } = options;
    const found =
      options.tokenFrom === undefined
        ? credentialOf(socket.handshake, options.cookie)
        : await options.tokenFrom(socket);
    if (found === undefined || found === '') throw new HandshakeRefusal({ code: 'missing' });
    const credential = typeof found === 'string' ? { sessionToken: found } : found;
    const client = options.clientOf?.(socket) ?? clientOf(socket.handshake);
    const giveUpAt = performance.now() + handshakeTimeoutMs;
    const leftMs = (): number => Math.max(1, giveUpAt - performance.now());
    // an end that is told of before that would be told to nobody
    await this.feed.untilReady(leftMs());
    const admission = this.admissions.begin(sessionIdOf(credential));
    try {
      let session: Session;
      let doubts: number;
      do {
        doubts = admission.doubts;
        session = await openSession(this.sessions, credential, {
          client,
          requiredClientFields,
          maxAuthAgeMs,
          timeoutMs: leftMs(),
        });
        if (session.sessionId !== admission.sessionId) throw new Error('a token of one session opened another');
        await forgetOther(socket, session);
        await socket.join([`user:${session.userId}`, `session:${session.sessionId}`]);
      } while (doubts !== admission.doubts);
      if (admission.end !== undefined) throw refusedByEnd(admission.end);
      if (this.isClosed) throw unavailable();
      this.tracked.add(socket, { session, credential, touchDueAt: performance.now() + this.touchEveryMs });
    } finally {
      this.admissions.finish(admission);
    }
  }

  /** Of a socket that Socket.IO has recovered without asking any middleware. */
  private async admitLate(socket: AppSocket): Promise<void> {
    const recovered = socket.data.session?.sessionId;
    const refusal = await this.admit(socket);
    if (!socket.connected) return;
    // with the rooms and the data of another session it must not go on
    if (refusal === undefined && socket.data.session?.sessionId === recovered) this.connect(socket);
    else {
      socket.emit('session:refused', refusal?.data ?? { code: 'unknown' });
      socket.disconnect(true);
    }
  }

  private take(event: SessionEvent | ResyncEvent): void {
    switch (event.type) {
      case 'destroyed':
      case 'expired':
      case 'evicted':
      case 'theft':
        this.end(event.sessionId, event);
        break;
      case 'warned':
        this.lookSoon(event.sessionId);
        for (const { socket } of this.socketsOf(event.sessionId)) {
          const { effectiveAtMs, reason, message } = event;
          socket.emit('session:warned', { effectiveAtMs, reason, message });
        }
        break;
      case 'character_taken':
        for (const { socket } of this.socketsOf(event.sessionId)) {
          const { characterId, effectiveAtMs } = event;
          socket.emit('session:character_taken', { characterId, effectiveAtMs });
        }
        break;
      case 'updated':
      case 'unknown':
        this.lookSoon(event.sessionId);
        break;
      case 'resync':
        this.admissions.doubtAll();
        this.recheck.add(this.tracked.sessionIds);
        break;
      case 'created':
      case 'rotated':
        break;
    }
  }

  private socketsOf(sessionId: string): readonly TrackedSocket<AppSocket>[] {
    return [...(this.tracked.find(sessionId)?.sockets ?? [])];
  }

  private lookSoon(sessionId: string): void {
    if (this.tracked.find(sessionId) !== undefined) this.recheck.add([sessionId]);
  }

  private async look(sessionId: string): Promise<void> {
    const tracked = this.tracked.find(sessionId);
    if (tracked === undefined) return;
    const session = await this.sessions.getSession(sessionId);
    if (session === undefined) await this.endUntold(tracked);
    else this.tracked.refresh(session);
  }

  private touchWhenDue(tracked: TrackedSession<AppSocket>): void {
    const now = performance.now();
    if (now < tracked.touchDueAt) return;
    tracked.touchDueAt = now + this.touchEveryMs;
    void this.touch(tracked);
  }

  /** By id: a token that was rotated meanwhile would be taken for a stolen one. */
  private async touch(tracked: TrackedSession<AppSocket>): Promise<void> {
    try {
      this.tracked.refresh(await this.sessions.extendSession(tracked.sessionId, { ttlMs: TOUCH_MS }));
      this.touches.succeeded();
    } catch (error) {
      if (error instanceof NotFoundError) await this.endUntold(tracked);
      else this.touches.failed(error);
    }
  }

  /** Of a session that is gone: its token still tells how, for an hour. */
  private async endUntold({ sessionId, credential }: TrackedSession<AppSocket>): Promise<void> {
    const end = 'sessionToken' in credential ? await this.endOf(credential.sessionToken) : UNTOLD;
    this.end(sessionId, end);
  }

  private async endOf(sessionToken: string): Promise<SessionEndNotice> {
    const result = await this.sessions.validateSession(sessionToken).catch(() => undefined);
    return result?.status === 'expired' || result?.status === 'revoked' ? result.end : UNTOLD;
  }

  private end(sessionId: string, { cause, reason, message }: SessionEndNotice): void {
    const end = { cause, reason, message };
    this.admissions.end(sessionId, end);
    const sockets = this.socketsOf(sessionId);
    for (const tracked of sockets) tracked.end = end;
    this.kick(
      sockets.filter(({ isOnline }) => isOnline),
      end,
    );
  }

  /** All are told before the first is disconnected: a connection that is closed may have several. */
  private kick(sockets: readonly TrackedSocket<AppSocket>[], end: SessionEndNotice): void {
    for (const { socket } of sockets) {
      this.callBack(() => this.options.onEnded?.(socket, end));
      socket.emit('session:ended', end);
    }
    // listeners of the application run in it
    for (const { socket } of sockets) this.callBack(() => socket.disconnect(true));
  }

  private warnAgain({ socket, of }: TrackedSocket<AppSocket>): void {
    const { announcedEnd } = of.session;
    if (announcedEnd === undefined) return;
    const { endedAtMs, reason, message } = announcedEnd;
    socket.emit('session:warned', { effectiveAtMs: endedAtMs, reason, message });
  }

  private callBack(call: () => unknown): void {
    const failed = (error: unknown): void => {
      this.logger.error({ err: error }, 'what the application does about a socket has failed');
    };
    try {
      // one that is async may stand where nothing is awaited: rejected it would end the process
      const called = call();
      if (called instanceof Promise) called.catch(failed);
    } catch (error) {
      failed(error);
    }
  }
}

/** A connection that Socket.IO has recovered may come with another session now: it has nothing of the former. */
async function forgetOther(socket: SessionSocket, { sessionId }: Session): Promise<void> {
  const { session: known } = socket.data;
  if (known === undefined || known.sessionId === sessionId) return;
  for (const room of socket.rooms) {
    // by its own room it is told what is meant for it alone
    if (room !== socket.id) await socket.leave(room);
  }
  socket.data = {};
}
