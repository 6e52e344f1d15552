import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { LockServiceService } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { serviceUrl, startRedis, until, type RedisServer } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { sharedRedisUrl } from '../support/service.js';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js';
import type { PromiseClient } from '../support/client.js';

/** How often a call goes to Redis and back, counted on the wire. */

let redis: RedisServer;
let proxy: TcpProxy;
let locks: PromiseClient<typeof LockServiceService>;
/** What was sent in one piece, by names of commands; what the service sends by itself left out. */
let trips: string[][] = [];

beforeAll(async () => {
  redis = await startRedis();
  const port = Number(new URL(redis.url).port);
  proxy = await startTcpProxy(port, (piece) => {
    const commands = piece.split(/(?=\*\d+\r\n\$\d+\r\n[A-Z]+\r\n)/).filter((text) => text.includes(':lock:{'));
    const names = commands.map((text) => /^\*\d+\r\n\$\d+\r\n([A-Z]+)\r\n/.exec(text)?.[1] ?? '');
    if (names.length > 0) trips.push(names);
  });
  const through = serviceUrl(proxy.port);
  const service = await startServiceProcess({
    CACHE_REDIS_URL: sharedRedisUrl('standalone'),
    STATE_REDIS_URL: through,
  });
  locks = service.channel().of(LockServiceService);
  // whatever is sent once for a process
  const { lockToken } = await locks.acquireLock({ resources: ['first'] });
  await locks.acquireLock({ resources: ['first'], waitMs: 1n });
  await locks.releaseLock({ resources: ['first'], lockToken });
});
afterAll(async () => {
  await killServiceProcesses();
  await proxy.close();
  await redis.remove();
});

async function tripsOf(call: () => Promise<unknown>): Promise<string[][]> {
  trips = [];
  await call();
  return trips;
}

const waitMs = 20_000n;

test.each([
  ['that does not wait', {}],
  ['that may wait', { waitMs }],
  ['of a request', { requestId: 'x'.repeat(16), waitMs }],
  ['of one permit', { permits: 1 }],
  ['that is reentrant', { owner: 'ada', reentrant: true }],
])(
  'an AcquireLock %s of a free lock is one script, and so are ExtendLock, ReleaseLock and GetLock',
  async (_, request) => {
    const resources = ['free'];
    let lockToken = '';
    expect(
      await tripsOf(async () => {
        ({ lockToken } = await locks.acquireLock({ ...request, resources }));
      }),
    ).toEqual([['EVALSHA']]);
    expect(await tripsOf(() => locks.extendLock({ resources, lockToken }))).toEqual([['EVALSHA']]);
    expect(await tripsOf(() => locks.getLock({ resource: 'free' }))).toEqual([['EVALSHA']]);
    expect(await tripsOf(() => locks.releaseLock({ resources, lockToken }))).toEqual([['EVALSHA']]);
  },
);

test('of those who wait each takes three scripts: its place, the release that hands over, and taking it up', async () => {
  const resources = ['busy'];
  const count = 20;
  const options = { deadline: Date.now() + 30_000 };
  const held = await locks.acquireLock({ resources });
  trips = [];
  const cycles = Array.from({ length: count }, async () => {
    const { lockToken } = await locks.acquireLock({ resources, waitMs }, options);
    await locks.releaseLock({ resources, lockToken });
  });
  // without asking for the lock, which would be counted
  await until(() => trips.flat().length > 0);
  await locks.releaseLock({ resources, lockToken: held.lockToken });
  await Promise.all(cycles);
  // several calls of one turn share a script
  expect(trips.flat().every((name) => name === 'EVALSHA')).toBe(true);
  expect(trips.flat().length).toBeLessThanOrEqual(3 * count + 1);
});
