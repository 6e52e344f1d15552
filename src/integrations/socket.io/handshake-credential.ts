import type { SessionClient } from '../../client/index.js';
import { presentedClient } from '../http/presented-client.js';
import { bearerOf, cookieOf, type SessionCredential } from '../http/session-credential.js';
import type { SessionSocket } from './socket-types.js';

/** A cookie that may hold the session token. */
export interface SessionCookie {
  readonly name: string;
  /**
   * Handshakes from these origins may use it, such as `https://play.example`: any website can open a WebSocket to your server,
   * and the browser sends your player's cookies with it.
   */
  readonly origins: readonly string[];
}

type Handshake = SessionSocket['handshake'];

/** The session token of `auth.sessionToken`, else of `Authorization: Bearer`, else of the cookie. */
export function credentialOf(
  { auth, headers }: Handshake,
  cookie: SessionCookie | undefined,
): SessionCredential | undefined {
  const sessionToken =
    textOf(auth.sessionToken) ??
    textOf(bearerOf(headers.authorization)) ??
    (cookie === undefined ? undefined : textOf(cookieToken(headers, cookie)));
  return sessionToken === undefined ? undefined : { sessionToken };
}

/** The peer's address, the `User-Agent`, and `auth.deviceId`. */
export function clientOf({ address, auth, headers }: Handshake): SessionClient {
  const [ip = ''] = address.split('%');
  // a server may listen on what has no addresses
  return presentedClient(ip, headers['user-agent'], textOf(auth.deviceId));
}

function cookieToken(headers: Handshake['headers'], { name, origins }: SessionCookie): string | undefined {
  if (headers.origin === undefined || !origins.includes(headers.origin)) return undefined;
  return cookieOf({ get: () => headers.cookie }, name);
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}
