import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import type { SecureContext } from 'node:tls';
import { RESP_TYPES } from 'redis';
import { secureContextOf, type TlsFiles } from './tls-files.js';

/** How to log in at a Redis, and how to be sure of it. */
export interface RedisAccess {
  readonly username?: string;
  readonly password?: string;
  /** Holds the password, in the place of `password`. */
  readonly passwordFile?: string;
  readonly tls: boolean;
  readonly tlsFiles?: TlsFiles;
}

/** What of a target is about access. */
export function accessOf({ username, password, passwordFile, tls, tlsFiles }: RedisAccess): RedisAccess {
  return {
    tls,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(passwordFile === undefined ? {} : { passwordFile }),
    ...(tlsFiles === undefined ? {} : { tlsFiles }),
  };
}

// node-redis's own command timeout costs 12 µs a command and does not act once the command is written: each RPC races
// its deadline instead, and a silent connection is given up after SOCKET_TIMEOUT_MS.
export const SOCKET_TIMEOUT_MS = 2_000;
export const PING_INTERVAL_MS = 900;
const CONNECT_TIMEOUT_MS = 1_500;
const MAX_QUEUED_COMMANDS = 20_000;

/** Full jitter, so that a fleet does not come back in step: 25 ms doubling to 1 s. */
export function reconnectDelayMs(attempt: number): number {
  const ceiling = Math.min(25 * 2 ** attempt, 1_000);
  return ceiling / 2 + Math.random() * (ceiling / 2);
}

export const commandOptions = {
  timeout: 0,
  typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer },
} as const;

/** The password that a file holds; a newline at its end is none of it. Throws what is wrong, never with the password. */
export function passwordIn(text: string, file: string): string {
  const password = text.replace(/\r?\n$/, '');
  if (password === '') throw new Error(`${file} is empty`);
  return password;
}

/** Asked at each login, so that a password that was changed is found in its file without a restart. */
function credentialsProvider({ username, password, passwordFile }: Omit<RedisAccess, 'tls' | 'tlsFiles'>) {
  return {
    type: 'async-credentials-provider',
    credentials: async () => {
      const secret =
        passwordFile === undefined ? password : passwordIn(await readFile(passwordFile, 'utf8'), passwordFile);
      return {
        ...(username === undefined ? {} : { username }),
        ...(secret === undefined ? {} : { password: secret }),
      };
    },
  } as const;
}

export function clientOptions(access: Omit<RedisAccess, 'tls' | 'tlsFiles'>) {
  return {
    credentialsProvider: credentialsProvider(access),
    disableOfflineQueue: true,
    commandsQueueMaxLength: MAX_QUEUED_COMMANDS,
    pingInterval: PING_INTERVAL_MS,
    maintNotifications: 'disabled',
    disableClientInfo: true,
  } as const;
}

/** `host` is undefined for the nodes of a Cluster, which are found later. */
export function socketOptions(access: Pick<RedisAccess, 'tls' | 'tlsFiles'>, host?: string) {
  return {
    connectTimeout: CONNECT_TIMEOUT_MS,
    socketTimeout: SOCKET_TIMEOUT_MS,
    reconnectStrategy: reconnectDelayMs,
    ...(access.tls ? tlsOptions(access.tlsFiles ?? {}, host) : {}),
  };
}

interface TlsOptions {
  readonly tls: true;
  readonly secureContext: SecureContext;
  readonly rejectUnauthorized: true;
  readonly servername?: string;
}

function tlsOptions(files: TlsFiles, host: string | undefined): TlsOptions {
  // node tells the server no name by itself, and an address is none
  const servername = files.serverName ?? (host !== undefined && isIP(host) === 0 ? host : undefined);
  return {
    tls: true,
    secureContext: secureContextOf(files),
    // said aloud: NODE_TLS_REJECT_UNAUTHORIZED=0 would turn it off
    rejectUnauthorized: true,
    ...(servername === undefined ? {} : { servername }),
  };
}
