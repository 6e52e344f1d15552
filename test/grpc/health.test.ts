import { once } from 'node:events';
import { status as Code } from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { failureOf, TestChannel } from '../support/client.js';
import { checkHealth, HealthWatch } from '../support/health-client.js';
import { RawConnection } from '../support/http2-caller.js';
import { protoRpcs } from '../support/proto.js';
import { freePort, startRedis, until, type RedisServer } from '../support/redis-server.js';
import { reflect } from '../support/reflection-client.js';
import { sharedRedisUrl, startTestService, type TestService } from '../support/service.js';

const SERVICES = [...new Set(protoRpcs.map(({ name }) => name.slice(0, name.indexOf('/'))))];
const NAMES = ['', 'liveness', 'readiness', ...SERVICES];

describe('a service that serves', () => {
  let service: TestService;
  let healthAddress: string;
  beforeAll(async () => {
    healthAddress = `127.0.0.1:${String(await freePort())}`;
    service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone'), HEALTH_LISTEN: healthAddress });
  });
  afterAll(async () => {
    await service.stop();
  });

  test.each(NAMES)('says so of %j, by Check and by Watch', async (name) => {
    expect(await checkHealth(service.channel, name)).toBe('SERVING');
    const watch = new HealthWatch(service.channel.client, name);
    await until(() => watch.last === 'SERVING');
    watch.cancel();
  });

  test('does not know a service that it does not have', async () => {
    expect((await failureOf(checkHealth(service.channel, 'shardkeep.guild.v1.GuildService'))).code).toBe(
      Code.NOT_FOUND,
    );
    const watch = new HealthWatch(service.channel.client, 'shardkeep.guild.v1.GuildService');
    await until(() => watch.last === 'SERVICE_UNKNOWN');
    watch.cancel();
  });

  test('answers health, and nothing else, on the listener for it', async () => {
    const channel = new TestChannel(healthAddress);
    for (const name of NAMES) expect(await checkHealth(channel, name)).toBe('SERVING');
    const { code } = await failureOf(channel.raw('/shardkeep.cache.v1.CacheService/Get', Buffer.alloc(0)));
    expect(code).toBe(Code.UNIMPLEMENTED);
    channel.close();
  });

  test('answers a probe on the listener for it while somebody holds all connections that it may have', async () => {
    const held = Array.from({ length: 300 }, () => new RawConnection(healthAddress));
    await Promise.all(held.map(({ socket }) => once(socket, 'connect')));
    const channel = new TestChannel(healthAddress);
    expect(await checkHealth(channel, 'liveness')).toBe('SERVING');
    channel.close();
    for (const { socket } of held) socket.destroy();
  });

  test('tells by reflection what it has', async () => {
    const { listServicesResponse } = await reflect(service.channel.client, { listServices: '' });
    const names = listServicesResponse?.service.map(({ name }) => name) ?? [];
    expect(names).toEqual(expect.arrayContaining([...SERVICES, 'grpc.health.v1.Health']));
    for (const name of SERVICES) {
      const { fileDescriptorResponse } = await reflect(service.channel.client, { fileContainingSymbol: name });
      expect(fileDescriptorResponse?.fileDescriptorProto.length).toBeGreaterThan(0);
    }
  });

  test('tells nothing by reflection where it is turned off', async () => {
    const silent = await startTestService({ REDIS_URL: sharedRedisUrl('standalone'), REFLECTION: '0' });
    expect((await failureOf(reflect(silent.channel.client, { listServices: '' }))).code).toBe(Code.UNIMPLEMENTED);
    await silent.stop();
  });

  test('that drains says NOT_SERVING of everything but its life before it goes', async () => {
    const going = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
    const watches = NAMES.map((name) => new HealthWatch(going.channel.client, name));
    await until(() => watches.every(({ last }) => last === 'SERVING'));
    await going.service.drain();
    await until(() => watches.filter(({ last }) => last === 'NOT_SERVING').length >= NAMES.length - 1);
    expect(watches.map(({ last }) => last)).toEqual(
      NAMES.map((name) => (name === 'liveness' ? 'SERVING' : 'NOT_SERVING')),
    );
    going.channel.close();
  });

  test('that has drained ends the streams of those who watch it', async () => {
    const going = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
    const watch = new HealthWatch(going.channel.client, 'liveness');
    await until(() => watch.last === 'SERVING');
    await going.service.drain();
    await until(() => watch.ended);
    expect(watch.statuses).toEqual(['SERVING']);
    going.channel.close();
  });
});

describe('while Redis is away', () => {
  let redis: RedisServer;
  let service: TestService;
  beforeEach(async () => {
    redis = await startRedis();
  });
  afterEach(async () => {
    await service.stop();
    await redis.remove();
  });

  const check = (name: string): Promise<string> => checkHealth(service.channel, name);
  const allAre = async (status: string): Promise<boolean> =>
    (await Promise.all(SERVICES.map(check))).every((answer) => answer === status);

  test('the services do not serve; readiness follows after a grace time, and all come back with Redis', async () => {
    service = await startTestService({ REDIS_URL: redis.url });
    await redis.stop();
    await until(() => allAre('NOT_SERVING'));
    expect(await check('readiness')).toBe('SERVING');
    await until(async () => (await check('readiness')) === 'NOT_SERVING');
    expect(await check('')).toBe('NOT_SERVING');
    expect(await check('liveness')).toBe('SERVING');
    await redis.restart();
    await until(async () => (await check('readiness')) === 'SERVING');
    expect(await allAre('SERVING')).toBe(true);
    expect(await check('')).toBe('SERVING');
  });

  test('a sidecar stays ready: its Pod would lose its players over it', async () => {
    service = await startTestService({ REDIS_URL: redis.url, SIDECAR: '1' });
    const watch = new HealthWatch(service.channel.client, 'readiness');
    await redis.stop();
    await until(() => allAre('NOT_SERVING'));
    expect(await check('readiness')).toBe('SERVING');
    expect(watch.statuses).not.toContain('NOT_SERVING');
    watch.cancel();
  });

  test('a call is UNAVAILABLE with the time of a retry, and is answered again when Redis is back', async () => {
    service = await startTestService({ REDIS_URL: redis.url });
    const { cache } = service;
    await cache.set({ key: 'before', value: Buffer.from('x') });
    await redis.stop();
    await until(() => allAre('NOT_SERVING'));
    for (const call of [cache.get({ key: 'before' }), cache.set({ key: 'after', value: Buffer.from('x') })]) {
      const failure = await failureOf(call);
      expect(failure).toMatchObject({ code: Code.UNAVAILABLE, reason: 'REDIS_UNAVAILABLE' });
      expect(failure.retryAfterMs).toBeGreaterThan(0);
    }
    await redis.restart();
    await until(() => allAre('SERVING'));
    // it lost its scripts with its data
    expect((await cache.set({ key: 'after', value: Buffer.from('x') })).stored).toBe(true);
    expect((await cache.get({ key: 'before' })).entry).toBeUndefined();
  });
});
