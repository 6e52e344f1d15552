import { checkArgument, listOf, refuseOptions, thing } from '../../client/option-checks.js';
import { checkSessionsOptions, type ShardkeepSessionsOptions } from './options.js';
import { SocketSessions } from './socket-sessions.js';
import type { SessionNamespace, SessionSocket } from './socket-types.js';

/** How many there are in this process now. */
export interface SocketSessionCounts {
  readonly handshakes: number;
  readonly sockets: number;
  readonly sessions: number;
  /** With a socket that is connected. */
  readonly users: number;
}

/** What `shardkeepSessions` has begun. */
export interface InstalledSessions {
  readonly counts: SocketSessionCounts;
  /** Whether a user has a connected socket in this process. */
  isOnline(userId: string): boolean;
  /**
   * Ends the watch; sockets stay, and nothing kicks them any more. Socket.IO cannot take a middleware out: from now on it refuses
   * every handshake as `unavailable`. The client is its owner's, who closes it.
   */
  close(): void;
}

/**
 * Lets sockets into a Socket.IO 4 server or namespace, or some, by their sessions, and disconnects them when their session ends:
 * `shardkeepSessions(io, { client: shardkeep })`. To be called before your own middlewares and listeners. As with all of Socket.IO's
 * middleware, a server means its namespace `/` alone, and a client may connect to another one without it: name each that is
 * guarded, as `[io, io.of('/chat'), io.of(/^\/shard-/)]`.
 *
 * A handshake shows a session token. `socket.data.session` is its session, and the socket is in the rooms `user:<user id>` and
 * `session:<session id>` before your `connection` listeners run. A refused handshake is the client's `connect_error`, whose
 * `data` is `{ code, retryAfterMs?, end? }` with the code `missing`, `unknown`, `expired`, `revoked`, `binding`, `step_up` or, while
 * the service or its Redis is away, `unavailable`: never a guess. Socket.IO's client does not try again by itself after one.
 *
 * Whoever ends a session, through whichever service process, its sockets are told `session:ended` and disconnected, mostly within
 * 2 ms, and some 0.13 s where other sessions had events right before (`make bench-socketio`). Also told are `session:warned` and
 * `session:character_taken`. Sockets stay while the service is away; what ended meanwhile is found out when it is back.
 *
 * All of it is local: with several processes, with or without an adapter such as that for Redis, each one has this installed and
 * kicks its own sockets. Each has one watch of all sessions of the namespace, from which it takes those it has sockets of. So
 * nothing has to be subscribed to while a socket connects, and no end falls between its validation and its watch. The price is
 * that each process is told of all logins, ends and changes of the namespace, which was 4 % of a core at 1,000 a second and 7 % at
 * 4,000; touches are not among them.
 *
 * With `connectionStateRecovery` set `skipMiddlewares: false`, or a connection is recovered before its session was looked at; it is
 * looked at then right behind, and the client told `session:refused` where it may not go on.
 *
 * Throws InvalidArgumentError for options that are wrong or misspelt, and for a namespace that has it already, closed or not;
 * `fields` names them.
 */
export function shardkeepSessions<AppSocket extends SessionSocket>(
  io: SessionNamespace<AppSocket> | readonly SessionNamespace<AppSocket>[],
  options: ShardkeepSessionsOptions<AppSocket>,
): InstalledSessions {
  const namespaces = isSeveral(io) ? io : [io];
  checkArgument('shardkeepSessions', 'io', io, isSeveral(io) ? listOf(NAMESPACE) : NAMESPACE);
  checkSessionsOptions(options);
  const guarding = namespaces.map((namespace) => rootOf(namespace));
  guarding.forEach((namespace, index) => {
    if (guarded.has(namespace) || guarding.indexOf(namespace) < index)
      refuseOptions('shardkeepSessions', { at: isSeveral(io) ? `io[${String(index)}]` : 'io', mustBe: UNGUARDED });
  });
  for (const namespace of guarding) guarded.add(namespace);
  const sessions = new SocketSessions(options);
  for (const namespace of namespaces) {
    namespace.use((socket, next) => {
      void sessions.admit(socket).then(next);
    });
    // before `connection`, and so before what it finds is handed to the application
    namespace.on('connect', sessions.connect);
  }
  const { tracked, admissions } = sessions;
  return {
    get counts() {
      return {
        handshakes: admissions.size,
        sockets: tracked.socketCount,
        sessions: tracked.sessionIds.length,
        users: tracked.userCount,
      };
    },
    isOnline: (userId) => tracked.isOnline(userId),
    close: () => {
      for (const namespace of namespaces) namespace.off('connect', sessions.connect);
      sessions.close();
    },
  };
}

const UNGUARDED = 'one that shardkeepSessions was not called for before';
/** Twice would be two watches, each event told twice, and another end for each. */
const guarded = new WeakSet<object>();

/** A server is its namespace `/`. */
function rootOf(namespace: object): object {
  const root: unknown = Reflect.get(namespace, 'sockets');
  return typeof root === 'object' && root !== null && 'use' in root ? root : namespace;
}

const NAMESPACE = thing('a server or a namespace of Socket.IO', 'use', 'on', 'off');

function isSeveral<Namespace extends object>(io: Namespace | readonly Namespace[]): io is readonly Namespace[] {
  return Array.isArray(io);
}
