import { RESP_TYPES } from 'redis';

/**
 * What node-redis can do at its best: no timer for each command (timeout 0), values as Buffers rather than text, nothing
 * queued while Redis is away, nothing said of itself in the handshake.
 */
export const BEST = {
  disableOfflineQueue: true,
  maintNotifications: 'disabled',
  disableClientInfo: true,
  commandOptions: { timeout: 0, typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer } },
} as const;

/** node-redis's view of an address: a socket's path or a URL. */
export function redisAddress(address: string): { url: string } | { socket: { path: string; tls: false } } {
  return address.startsWith('unix:')
    ? { socket: { path: address.slice('unix:'.length), tls: false } }
    : { url: address };
}

export function failLoudly(error: Error): void {
  throw error;
}
