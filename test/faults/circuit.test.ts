import { setTimeout as sleep } from 'node:timers/promises';
import { status as Code } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import calculateSlot from 'cluster-key-slot';
import { createClient } from 'redis';
import { failureOf } from '../support/client.js';
import { checkHealth } from '../support/health-client.js';
import { startCluster, startRedis, until, type RedisServer } from '../support/redis-server.js';
import { startTestService, type TestService } from '../support/service.js';

/** A Redis that stands still, and what is noticed of it long before any caller's deadline. */

const TIMEOUT_MS = 300;
/** So far away that only the circuit can end a call. */
const patient = () => ({ deadline: Date.now() + 50_000 });

let service: TestService;

async function metric(name: string): Promise<number> {
  const text = await service.service.metrics.registry.metrics();
  const line = text.split('\n').find((each) => each.startsWith(`${name}{role="state"}`));
  return Number(line?.slice(line.lastIndexOf(' ')));
}

const isOpen = async (): Promise<boolean> => (await metric('shardkeep_redis_circuit_open')) === 1;

async function expectAway(): Promise<void> {
  for (const call of [service.cache.get({ key: 'a' }, patient()), service.locks.acquireLock({ resources: ['a'] })]) {
    const failure = await failureOf(call);
    expect(failure).toMatchObject({ code: Code.UNAVAILABLE, reason: 'REDIS_UNAVAILABLE' });
    expect(failure.retryAfterMs).toBeGreaterThan(0);
  }
}

/** Writes and reads so many values at once: answers that came too late must be nobody else's. */
async function expectOwnAnswers(): Promise<void> {
  const keys = Array.from({ length: 50 }, (_, index) => `own-${String(index)}`);
  await Promise.all(keys.map((key) => service.cache.set({ key, value: Buffer.from(key) }, patient())));
  const answers = await Promise.all(keys.map((key) => service.cache.get({ key }, patient())));
  expect(answers.map(({ entry }) => entry?.value.toString())).toEqual(keys);
}

describe('one Redis', () => {
  let redis: RedisServer;

  async function start(timeoutMs: number, flags: readonly string[] = []): Promise<void> {
    redis = await startRedis(flags);
    service = await startTestService({ REDIS_URL: redis.url, REDIS_TIMEOUT_MS: String(timeoutMs) });
  }
  afterEach(async () => {
    redis.signal('SIGCONT');
    await service.stop();
    await redis.remove();
  });

  test('that pauses for less than the timeout is only slow', async () => {
    await start(30_000);
    redis.signal('SIGSTOP');
    const calls = Array.from({ length: 20 }, (_, index) =>
      service.cache.increment({ key: 'count', delta: BigInt(index) }, patient()),
    );
    await sleep(200);
    redis.signal('SIGCONT');
    await Promise.all(calls);
    expect(await metric('shardkeep_redis_reconnects_total')).toBe(0);
  });

  test('that hangs under load ends the calls in flight, then every other at once, and comes back', async () => {
    await start(TIMEOUT_MS);
    await service.cache.set({ key: 'a', value: Buffer.from('a') });
    redis.signal('SIGSTOP');
    const [write, read] = await Promise.all([
      failureOf(service.cache.set({ key: 'b', value: Buffer.from('b') }, patient())),
      failureOf(service.cache.get({ key: 'a' }, patient())),
    ]);
    expect(write).toMatchObject({ code: Code.UNAVAILABLE, reason: 'OUTCOME_UNKNOWN' });
    expect(read).toMatchObject({ code: Code.UNAVAILABLE, reason: 'REDIS_UNAVAILABLE' });
    expect(await isOpen()).toBe(true);
    expect(await metric('shardkeep_redis_up')).toBe(0);
    expect(await checkHealth(service.channel, 'shardkeep.lock.v1.LockService')).toBe('NOT_SERVING');
    for (let round = 0; round < 20; round++) await expectAway();
    redis.signal('SIGCONT');
    await until(async () => !(await isOpen()));
    await expectOwnAnswers();
    expect(await metric('shardkeep_redis_up')).toBe(1);
    expect(await metric('shardkeep_redis_reconnects_total')).toBe(1);
    expect(await checkHealth(service.channel, 'shardkeep.lock.v1.LockService')).toBe('SERVING');
  });

  test('that hangs while nobody asks is known before the next call', async () => {
    await start(TIMEOUT_MS);
    redis.signal('SIGSTOP');
    await until(isOpen);
    await expectAway();
    expect(await checkHealth(service.channel, 'shardkeep.cache.v1.CacheService')).toBe('NOT_SERVING');
    redis.signal('SIGCONT');
    await until(async () => !(await isOpen()));
    await expectOwnAnswers();
  });

  test("that runs somebody else's endless script is away until it is killed", async () => {
    await start(TIMEOUT_MS, ['--busy-reply-threshold', '50']);
    const other = createClient({ url: redis.url });
    other.on('error', () => undefined);
    await other.connect();
    const script = other.eval('while true do end').catch(() => undefined);
    try {
      const failure = await failureOf(service.cache.set({ key: 'b', value: Buffer.from('b') }, patient()));
      expect(failure.code).toBe(Code.UNAVAILABLE);
      await until(isOpen);
      await expectAway();
    } finally {
      await redis.command('SCRIPT', 'KILL');
      await script;
      other.destroy();
    }
    await until(async () => !(await isOpen()));
    await expectOwnAnswers();
  });

  test('that was made a replica takes no writes, is not ready, and is used again as a master', async () => {
    await start(TIMEOUT_MS);
    await redis.command('REPLICAOF', '127.0.0.1', String(redis.port));
    const write = (): Promise<unknown> => service.cache.set({ key: 'b', value: Buffer.from('b') }, patient());
    expect((await failureOf(write())).code).toBe(Code.UNAVAILABLE);
    await until(async () => (await metric('shardkeep_redis_up')) === 0);
    await redis.command('REPLICAOF', 'NO', 'ONE');
    await until(async () => (await metric('shardkeep_redis_up')) === 1);
    await expectOwnAnswers();
  });

  test('that has too few replicas refuses writes and answers reads', async () => {
    await start(TIMEOUT_MS);
    await service.cache.set({ key: 'a', value: Buffer.from('a') });
    await redis.command('CONFIG', 'SET', 'min-replicas-to-write', '1');
    const failure = await failureOf(service.cache.set({ key: 'b', value: Buffer.from('b') }, patient()));
    expect(failure).toMatchObject({ code: Code.UNAVAILABLE, reason: 'REDIS_UNAVAILABLE' });
    expect((await service.cache.get({ key: 'a' }, patient())).entry?.value.toString()).toBe('a');
    await redis.command('CONFIG', 'SET', 'min-replicas-to-write', '0');
    await expectOwnAnswers();
  });
});

describe('one master of a Cluster that hangs', () => {
  let cluster: Awaited<ReturnType<typeof startCluster>>;

  beforeEach(async () => {
    cluster = await startCluster(3, 0);
    service = await startTestService({ REDIS_URL: cluster.url, REDIS_TIMEOUT_MS: String(TIMEOUT_MS) });
  });
  afterEach(async () => {
    for (const master of cluster.masters) master.signal('SIGCONT');
    await service.stop();
    await cluster.remove();
  });

  test('takes its own slots with it, and no others', async () => {
    const [hung] = cluster.masters;
    // startCluster gives the first of three masters the first third of the slots
    const all = Array.from({ length: 60 }, (_, index) => `key-${String(index)}`);
    const [onHung, onOthers] = [true, false].map((isHung) =>
      all.filter((key) => calculateSlot(key) < Math.floor(16_384 / 3) === isHung),
    ) as [string[], string[]];
    const set = (key: string): Promise<unknown> => service.cache.set({ key, value: Buffer.from(key) }, patient());
    await Promise.all(all.map(set));
    hung?.signal('SIGSTOP');
    const lost = await Promise.all(onHung.map((key) => failureOf(set(key))));
    expect(lost.every(({ code }) => code === Code.UNAVAILABLE)).toBe(true);
    expect(await isOpen()).toBe(true);
    await Promise.all(onOthers.map(set));
    for (const key of onHung) expect((await failureOf(set(key))).code).toBe(Code.UNAVAILABLE);
    expect(await metric('shardkeep_redis_up')).toBe(1);
    hung?.signal('SIGCONT');
    await until(async () => !(await isOpen()));
    await Promise.all(all.map(set));
    await expectOwnAnswers();
  });
});
