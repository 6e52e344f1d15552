import type { Logger, SessionClient, ShardkeepClient } from '../../client/index.js';
import {
  callable,
  checkOptions,
  clientWithSessions,
  fieldName,
  listOf,
  numberFrom,
  optional,
  refuseOptions,
  shape,
  wholeNumber,
  type OptionCheck,
  type OptionChecks,
} from '../../client/option-checks.js';
import { loggerWith } from '../http/logger.js';
import { clientFields, MAX_AUTH_AGE_MS, type ClientField } from '../http/session-options.js';
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
  /** Absent: cookies are not looked at. Not with `tokenFrom`. */
  readonly cookie?: SessionCookie;
  /**
   * Who connects, compared with whom the session was made for, as its profile says. By default the peer's address, the
   * `User-Agent` and `auth.deviceId`; behind a proxy the address is to be taken from what the proxy tells.
   */
  readonly clientOf?: (socket: AppSocket) => SessionClient;
  /**
   * What each handshake has to tell of its client, or is refused as `binding`; nothing by default. A session is compared only by
   * what both sides tell: where its profile rejects other devices, a handshake that names none has to be refused here.
   */
  readonly requiredClientFields?: readonly ClientField[];
  /** How long ago the user may have proved who they are at the handshake, 0 to 31,536,000,000; older is refused as `step_up`. */
  readonly maxAuthAgeMs?: number;
  /** How long a handshake may take, 1 to 2,147,483,647; 5,000 by default. */
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
  /**
   * What goes wrong is said here, once an outage: handshakes that nobody can tell about, and what your callbacks throw. That of
   * the client is another. A pino logger fits; false: nothing is said. By default warnings and errors are warnings of the
   * process (`ShardkeepWarning`), each at most once a minute.
   */
  readonly logger?: Logger | false | undefined;
}

/** As browsers send them: without a path, which would never be met, and not `null`, which any website can have sent. */
const origin: OptionCheck = (value) =>
  typeof value === 'string' && isOrigin(value) ? [] : [{ at: '', mustBe: ORIGIN }];
const ORIGIN = 'an origin as browsers send it, such as "https://play.example"';

const CHECKS: OptionChecks<ShardkeepSessionsOptions<never>> = {
  client: clientWithSessions,
  tokenFrom: optional(callable),
  cookie: optional(shape<SessionCookie>({ name: fieldName, origins: listOf(origin) })),
  clientOf: optional(callable),
  requiredClientFields: optional(clientFields),
  maxAuthAgeMs: optional(wholeNumber(0, MAX_AUTH_AGE_MS)),
  // a timer that is set for longer is due at once
  handshakeTimeoutMs: optional(numberFrom(1, 2_147_483_647)),
  touchEveryMs: optional(numberFrom(0)),
  onEnded: optional(callable),
  onStatus: optional(callable),
  logger: loggerWith('debug', 'warn', 'error'),
};

/** Throws InvalidArgumentError for options that are wrong, misspelt, or exclude each other. */
export function checkSessionsOptions<AppSocket extends SessionSocket>(
  options: ShardkeepSessionsOptions<AppSocket>,
): void {
  checkOptions('shardkeepSessions', options, CHECKS);
  if (options.tokenFrom === undefined || options.cookie === undefined) return;
  refuseOptions('shardkeepSessions', {
    at: 'cookie',
    mustBe: 'left out beside tokenFrom, which says where the token is',
  });
}

function isOrigin(text: string): boolean {
  if (/^https?:/i.test(text)) return URL.canParse(text) && new URL(text).origin === text;
  // of apps, such as `capacitor://localhost`
  return /^[a-z][a-z0-9+.-]*:\/\/[^/?#]*$/.test(text);
}
