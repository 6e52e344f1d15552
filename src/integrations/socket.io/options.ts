import type { Logger, SessionClient, ShardkeepClient } from '../../client/index.js';
import type { SessionCredential } from '../http/session-credential.js';
import type { SessionCookie } from './handshake-credential.js';
import type { SessionEndNotice } from './notices.js';
import type { SessionSocket } from './socket-types.js';

/** A user came to this process, or left it. */
export interface UserStatus {
  readonly userId: string;
  readonly status: 'online' | 'offline';
}

type FoundCredential = string | SessionCredential | undefined;

export interface ShardkeepSessionsOptions<AppSocket extends SessionSocket> {
  readonly client: Pick<ShardkeepClient, 'sessions'>;
  /**
   * The session token that a handshake shows; undefined: none. By default that of `socket.handshake.auth.sessionToken`, else of
   * `Authorization: Bearer`, else of the `cookie`. What was proved otherwise, as by a JWT whose signature you have verified, may
   * name a session by `{ sessionId, userId }`, which is not compared with a client. What it throws is logged, and refuses the
   * handshake as `unavailable`.
   */
  readonly tokenFrom?: (socket: AppSocket) => FoundCredential | Promise<FoundCredential>;
  /** Absent: cookies are not looked at. */
  readonly cookie?: SessionCookie;
  /**
   * Who connects, compared with whom the session was made for, as its profile says. By default the peer's address, the
   * `User-Agent` and `auth.deviceId`; behind a proxy the address is to be taken from what the proxy tells.
   */
  readonly clientOf?: (socket: AppSocket) => SessionClient;
  /** How long ago the user may have proved who they are at the handshake, 0 to 31,536,000,000; older is refused as `step_up`. */
  readonly maxAuthAgeMs?: number;
  /** How long a handshake may take, from 1; 5,000 by default. */
  readonly handshakeTimeoutMs?: number;
  /**
   * What a client sends touches its session, at most once in so long; 60,000 by default, Infinity: never. Should be well
   * below the profile's idle TTL, a third of it at most.
   */
  readonly touchEveryMs?: number;
  /** Called right before a socket whose session has ended is told so and disconnected. What it throws is logged. */
  readonly onEnded?: (socket: AppSocket, end: SessionEndNotice) => void;
  /**
   * Called when the first socket of a user is connected to this process, and when the last one is gone. With several processes a
   * user is online while any of them says so. What it throws is logged.
   */
  readonly onStatus?: (status: UserStatus) => void;
  /** What goes wrong beside the handshakes is said here, once an outage. A pino logger fits. */
  readonly logger?: Logger;
}

const MAX_AUTH_AGE_MS = 31_536_000_000;

/** Throws RangeError for what no service or timer takes. */
export function checkOptions<AppSocket extends SessionSocket>(options: ShardkeepSessionsOptions<AppSocket>): void {
  const { maxAuthAgeMs = 0, handshakeTimeoutMs = 1, touchEveryMs = 0 } = options;
  if (!Number.isInteger(maxAuthAgeMs) || maxAuthAgeMs < 0 || maxAuthAgeMs > MAX_AUTH_AGE_MS) {
    throw new RangeError('maxAuthAgeMs is not a whole number from 0 to 31,536,000,000');
  }
  if (!(handshakeTimeoutMs >= 1)) throw new RangeError('handshakeTimeoutMs is less than 1');
  if (!(touchEveryMs >= 0)) throw new RangeError('touchEveryMs is less than 0');
}
