import type { Logger } from 'pino';
import { ClusterConnection } from './cluster-connection.js';
import type { ConnectionEvents, ConnectionOptions, RedisConnection, RedisTarget } from './connection.js';
import { ServerConnection } from './server-connection.js';

export function createConnection(
  target: RedisTarget,
  events: ConnectionEvents,
  { logger, ...options }: ConnectionOptions & { readonly logger: Logger },
): RedisConnection {
  return target.topology === 'cluster'
    ? new ClusterConnection(target, events, logger, options)
    : new ServerConnection(target, events, logger, options);
}
