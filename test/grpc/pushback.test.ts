import { credentials, status as Code, type ServiceError } from '@grpc/grpc-js';
import { afterEach, expect, test } from '@jest/globals';
import { SessionServiceService } from '../../src/gen/shardkeep/session/v1/session.js';
import { TestChannel, type PromiseClient } from '../support/client.js';
import { startRedis } from '../support/redis-server.js';
import { policiesFile, sharedRedisUrl, startTestService } from '../support/service.js';

/**
 * Clients of other makes try again as a service config tells them, and with `grpc-retry-pushback-ms` when the service says.
 */

const ONE_AN_INTERVAL = policiesFile({
  rate_policies: { login: { algorithm: 'fixed', limit: 1, window_ms: 500 } },
  rpc_limits: [
    {
      rpc: 'shardkeep.session.v1.SessionService/CreateSession',
      policy: 'login',
      subjects: [{ kind: 'user', field: 'user_id' }],
    },
  ],
});

/** Whoever is told nothing waits for an hour. */
const TRIES_AGAIN_LATE = {
  methodConfig: [
    {
      name: [{}],
      retryPolicy: {
        maxAttempts: 5,
        initialBackoff: '3600s',
        maxBackoff: '3600s',
        backoffMultiplier: 1,
        retryableStatusCodes: ['RESOURCE_EXHAUSTED', 'UNAVAILABLE'],
      },
    },
  ],
};

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function clientOf(
  redisUrl: string,
  { serviceConfig = {} }: { readonly serviceConfig?: object } = {},
): Promise<PromiseClient<typeof SessionServiceService>> {
  const service = await startTestService({ REDIS_URL: redisUrl, POLICIES_FILE: ONE_AN_INTERVAL });
  cleanups.push(() => service.stop());
  const channel = new TestChannel(service.address, credentials.createInsecure(), { serviceConfig });
  cleanups.push(() => {
    channel.close();
  });
  return channel.of(SessionServiceService);
}

test('a call that a policy denies is made again when the policy lets it pass', async () => {
  const sessions = await clientOf(sharedRedisUrl('standalone'), { serviceConfig: TRIES_AGAIN_LATE });
  const created: string[] = [];
  for (let login = 0; login < 3; login++) {
    created.push((await sessions.createSession({ userId: 'ada' }, { deadline: Date.now() + 60_000 })).sessionToken);
  }
  expect(new Set(created).size).toBe(3);
});

test('of an outage nobody knows the end: each client keeps to its own back-off', async () => {
  const redis = await startRedis();
  cleanups.push(() => redis.remove());
  const sessions = await clientOf(redis.url);
  await redis.stop('SIGKILL');
  const failure = (await sessions.createSession({ userId: 'ada' }).catch((error: unknown) => error)) as ServiceError;
  expect(failure.code).toBe(Code.UNAVAILABLE);
  expect(failure.metadata.get('grpc-status-details-bin')).toHaveLength(1);
  expect(failure.metadata.get('grpc-retry-pushback-ms')).toEqual([]);
});
