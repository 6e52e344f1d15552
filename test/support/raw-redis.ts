import { pino } from 'pino';
import { parseRedisUrl } from '../../src/config/redis-url.js';
import { createConnection } from '../../src/redis/create-connection.js';
import { until } from './redis-server.js';
import { sharedRedisUrl, type Topology } from './service.js';
import { asOurselves } from './redis-user.js';

/** Commands on the shared Redis past the service: to look at what it wrote, or to write what it never would. */
export interface RawRedis {
  /** Sends `[name, key, ...args]` to the node of the key; bulk strings come back as bytes. */
  command(name: string, key: string, ...args: (string | Buffer)[]): Promise<unknown>;
  close(): Promise<void>;
}

export async function rawRedis(topology: Topology): Promise<RawRedis> {
  let ready = false;
  const connection = createConnection(
    parseRedisUrl(asOurselves(sharedRedisUrl(topology))),
    {
      onNodeReady: () => Promise.resolve(),
      onStateChange: (now) => {
        ready = now;
      },
    },
    { logger: pino({ level: 'silent' }) },
  );
  connection.connect();
  await until(() => ready);
  return {
    command: (name, key, ...args) => connection.send(key, [name, key, ...args]),
    close: () => connection.close(),
  };
}
