import { status as Code } from '@grpc/grpc-js';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { CacheServiceService, type DeletePatternResponse } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { failureOf, type TestChannel } from '../support/client.js';
import { startCluster, until, type RedisCluster, type RedisServer } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { openStream } from '../support/stream-client.js';

/** A DeletePattern on a Cluster whose nodes change places, or die. */

const MANY = 20_000;
let cluster: RedisCluster;
let channel: TestChannel;

beforeEach(async () => {
  cluster = await startCluster(3, 1);
  channel = (await startServiceProcess({ REDIS_URL: cluster.url })).channel();
  const cache = channel.of(CacheServiceService);
  for (let from = 0; from < MANY; from += 1_000) {
    await Promise.all(
      Array.from({ length: 1_000 }, (_, index) => cache.increment({ key: `mob:${String(from + index)}` })),
    );
  }
});
afterEach(async () => {
  await killServiceProcesses();
  await cluster.remove();
});

const deleteMobs = () => openStream(channel, CacheServiceService.deletePattern, { pattern: 'mob:*' });
const sizeOf = async (server: RedisServer): Promise<number> => Number(await server.command('DBSIZE'));

async function mobsLeft(): Promise<bigint | undefined> {
  const call = openStream(channel, CacheServiceService.deletePattern, { pattern: 'mob:*', dryRun: true });
  return (await call.result).at(-1)?.matched;
}

test('finds every key though a replica takes over a master in the middle', async () => {
  const [replica] = cluster.replicas;
  if (replica === undefined) throw new Error('a replica is needed');
  const before = await sizeOf(replica);
  const stream = deleteMobs();
  await until(async () => (await sizeOf(replica)) < before);
  await replica.command('CLUSTER', 'FAILOVER');
  const code = await stream.code();
  expect([Code.OK, Code.UNAVAILABLE]).toContain(code);
  let last: DeletePatternResponse | undefined = stream.messages.at(-1);
  // a connection that broke on the way ends the call; its retry finds the rest
  await until(async () => {
    if (last?.done === true) return true;
    last = (await deleteMobs().result).at(-1);
    return last?.done === true;
  });
  await until(async () => String(await replica.command('ROLE')).startsWith('master'));
  expect(await mobsLeft()).toBe(0n);
});

test('ends with UNAVAILABLE when a master dies, and finds the rest when its replica took over', async () => {
  const [, , third] = cluster.masters;
  if (third === undefined) throw new Error('three masters are needed');
  const stream = deleteMobs();
  await stream.untilMessages(1);
  await third.stop('SIGKILL');
  const failure = await failureOf(stream.result);
  expect(failure.code).toBe(Code.UNAVAILABLE);
  expect(failure.retryAfterMs).toBeGreaterThan(0);
  expect(stream.messages.at(-1)).toMatchObject({ done: false });
  await until(async () => (await deleteMobs().result).at(-1)?.done === true);
  expect(await mobsLeft()).toBe(0n);
});
