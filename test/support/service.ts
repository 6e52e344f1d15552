import { afterAll, beforeAll, describe } from '@jest/globals';
import { pino, type Logger } from 'pino';
import { loadConfig } from '../../src/config/config.js';
import { CacheServiceService } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { LockServiceService } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { RateLimitServiceService } from '../../src/gen/shardkeep/ratelimit/v1/ratelimit.js';
import { SessionServiceService } from '../../src/gen/shardkeep/session/v1/session.js';
import { startService, type Service } from '../../src/service.js';
import { TestChannel, type PromiseClient } from './client.js';
import { PATIENCE, randomNamespace, type Environment } from './namespace.js';
import { mustUseServiceUser } from './redis-user.js';

export { policiesFile, randomNamespace, type Environment } from './namespace.js';

/** A running service in this process, with a client of every API. */
export interface TestService {
  readonly address: string;
  readonly namespace: string;
  readonly channel: TestChannel;
  readonly cache: PromiseClient<typeof CacheServiceService>;
  readonly sessions: PromiseClient<typeof SessionServiceService>;
  readonly locks: PromiseClient<typeof LockServiceService>;
  readonly rateLimits: PromiseClient<typeof RateLimitServiceService>;
  readonly service: Service;
  stop(): Promise<void>;
}

export async function startTestService(
  env: Environment,
  { logger = pino({ level: process.env.TEST_LOG_LEVEL ?? 'silent' }) }: { readonly logger?: Logger } = {},
): Promise<TestService> {
  const namespace = env.NAMESPACE ?? randomNamespace();
  mustUseServiceUser(env);
  const config = loadConfig({
    NODE_ENV: 'test',
    GRPC_LISTEN: '127.0.0.1:0',
    NAMESPACE: namespace,
    ...PATIENCE,
    ...env,
  });
  const service = await startService({
    config,
    logger,
    onUnusable: (error) => {
      throw error;
    },
  });
  await service.ready;
  const channel = new TestChannel(service.address);
  return {
    address: service.address,
    namespace,
    channel,
    cache: channel.of(CacheServiceService),
    sessions: channel.of(SessionServiceService),
    locks: channel.of(LockServiceService),
    rateLimits: channel.of(RateLimitServiceService),
    service,
    stop: async () => {
      channel.close();
      await service.drain();
    },
  };
}

export const TOPOLOGIES = ['standalone', 'cluster'] as const;
export type Topology = (typeof TOPOLOGIES)[number];

/** The URL of the shared Redis of this run. */
export function sharedRedisUrl(topology: Topology): string {
  const name = topology === 'cluster' ? 'TEST_CLUSTER_URL' : 'TEST_STANDALONE_URL';
  const url = process.env[name];
  if (url === undefined) throw new Error(`${name} is not set; run the tests by jest`);
  return url;
}

/** Runs one body against a service on standalone Redis and against one on Cluster. */
export function onEachTopology(
  name: string,
  body: (service: () => TestService, topology: Topology) => void,
  env: Environment = {},
): void {
  describe.each(TOPOLOGIES)(`${name} on %s`, (topology) => {
    let running: TestService | undefined;
    beforeAll(async () => {
      running = await startTestService({ REDIS_URL: sharedRedisUrl(topology), ...env });
    });
    afterAll(async () => {
      await running?.stop();
    });
    body(() => {
      if (running === undefined) throw new Error('the service is not running');
      return running;
    }, topology);
  });
}
