import { afterEach, expect, test } from '@jest/globals';
import { AcquireLockStatus } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { fenceOf, LockUser, LONG_MS } from '../lock/lock-support.js';
import { startCluster, startRedis, until, type RedisServer } from '../support/redis-server.js';
import { startTestService, type TestService } from '../support/service.js';

/** Fencing tokens grow, whatever Redis loses. */

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function serviceOn(url: string): Promise<TestService> {
  const service = await startTestService({ REDIS_URL: url });
  cleanups.push(() => service.stop());
  return service;
}

/** Takes and releases a lock so often; answers the tokens. */
async function tokensOf(user: LockUser, resource: string, count: number): Promise<bigint[]> {
  const tokens: bigint[] = [];
  for (let round = 0; round < count; round++) {
    const granted = await user.granted(resource);
    tokens.push(fenceOf(granted));
    await user.release(resource, granted);
  }
  return tokens;
}

async function untilGranted(user: LockUser, resource: string): Promise<bigint> {
  let token = 0n;
  await until(async () => {
    const answer = await user.acquire(resource);
    token = fenceOf(answer);
    return answer.status === AcquireLockStatus.GRANTED;
  });
  return token;
}

function isGrowing(tokens: readonly bigint[]): boolean {
  return tokens.every((token, index) => token > (tokens[index - 1] ?? 0n));
}

test.each(['FLUSHALL', 'SIGKILL'])('a Redis that loses everything by %s', async (how) => {
  const redis = await startRedis();
  cleanups.push(() => redis.remove());
  const user = new LockUser(await serviceOn(redis.url));
  const before = await tokensOf(user, 'lost', 50);
  const held = await user.granted('lost');
  if (how === 'FLUSHALL') {
    await redis.command('FLUSHALL');
  } else {
    await redis.stop('SIGKILL');
    await redis.restart();
  }
  expect(isGrowing([...before, fenceOf(held), await untilGranted(user, 'lost')])).toBe(true);
});

test('a Cluster master that dies before its last writes reached the replica that takes over', async () => {
  const cluster = await startCluster(3, 1);
  cleanups.push(() => cluster.remove());
  const user = new LockUser(await serviceOn(cluster.url));
  const replica = await replicaOf(cluster.replicas, cluster.masters[0]);
  const resource = await resourceOn(user, cluster.masters[0]);
  const replicated = await tokensOf(user, resource, 5);
  replica.signal('SIGSTOP');
  // or it would find what was sent to it meanwhile in its socket
  expect(await cluster.masters[0]?.command('CLIENT', 'KILL', 'TYPE', 'replica')).toBe(1);
  const lost = await tokensOf(user, resource, 50);
  const held = await user.granted(resource, { ttlMs: LONG_MS });
  await cluster.masters[0]?.stop('SIGKILL');
  replica.signal('SIGCONT');
  const after = await untilGranted(user, resource);
  // it knew nothing of the holder, and so of its tokens
  expect(isGrowing([...replicated, ...lost, fenceOf(held), after])).toBe(true);
});

async function replicaOf(replicas: readonly RedisServer[], master: RedisServer | undefined): Promise<RedisServer> {
  for (const replica of replicas) {
    const [role, , port] = (await replica.command('ROLE')) as unknown[];
    if (role === 'slave' && port === master?.port) return replica;
  }
  throw new Error('no replica');
}

/** A resource whose key is on a master. */
async function resourceOn(user: LockUser, master: RedisServer | undefined): Promise<string> {
  for (let index = 0; ; index++) {
    const resource = `on-${String(index)}`;
    const { lockToken } = await user.granted(resource);
    await user.release(resource, { lockToken });
    if (String(await master?.command('KEYS', '*')).includes(`{${resource}}`)) return resource;
  }
}
