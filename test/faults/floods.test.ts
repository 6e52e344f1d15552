import { status as Code } from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { CacheServiceService } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { TestChannel } from '../support/client.js';
import { HealthWatch } from '../support/health-client.js';
import { grpcMessage, Http2Caller, RawConnection } from '../support/http2-caller.js';
import { scrape } from '../support/metrics.js';
import { freePort, startRedis, until, type RedisServer } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess, type ServiceProcess } from '../support/service-process.js';

/** More of everything than there may be, while Redis does not answer: the worst time for it. */

const GET = '/shardkeep.cache.v1.CacheService/Get';
const MESSAGE = grpcMessage(Buffer.from([0x0a, 0x01, 0x78]));
const MAX_IN_FLIGHT = 64;
const MAX_CONNECTIONS = 120;

let redis: RedisServer;
let service: ServiceProcess;
let admin: string;
let health: TestChannel;
let callers: Http2Caller[] = [];

beforeAll(async () => {
  redis = await startRedis();
  admin = `127.0.0.1:${String(await freePort())}`;
  const healthListen = `127.0.0.1:${String(await freePort())}`;
  service = await startServiceProcess({
    ...{ REDIS_URL: redis.url, HEALTH_LISTEN: healthListen, ADMIN_LISTEN: admin },
    ...{ MAX_IN_FLIGHT: String(MAX_IN_FLIGHT), MAX_CONNECTIONS: String(MAX_CONNECTIONS) },
    // it shall not count as away before the flood is over
    ...{ DEFAULT_DEADLINE_MS: '30000', MAX_DEADLINE_MS: '30000', REDIS_TIMEOUT_MS: '30000' },
  });
  health = new TestChannel(healthListen);
});
afterEach(() => {
  redis.signal('SIGCONT');
  for (const caller of callers) caller.close();
  callers = [];
});
afterAll(async () => {
  health.close();
  await killServiceProcesses();
  await redis.remove();
});

function connections(count: number): Http2Caller[] {
  callers = Array.from({ length: count }, () => new Http2Caller(service.address));
  return callers;
}

async function untilServed(): Promise<void> {
  const cache = service.channel().of(CacheServiceService);
  // one that was refused is asked again
  await until(async () => (await cache.get({ key: 'x' })).entry === undefined);
}

test.each([
  { count: 1, callsEach: 3_000 },
  { count: 100, callsEach: 30 },
])('$callsEach calls at once on each of $count connections: early refusals, and health is SERVING', async (load) => {
  await untilServed();
  const watch = new HealthWatch(health.client, 'liveness');
  await until(() => watch.last === 'SERVING');
  redis.signal('SIGSTOP');
  const codes = new Map<number | undefined, number>();
  const answers = connections(load.count).flatMap((caller) =>
    Array.from({ length: load.callsEach }, async () => {
      const { grpcStatus } = await caller.request({ path: GET, body: MESSAGE });
      codes.set(grpcStatus, (codes.get(grpcStatus) ?? 0) + 1);
    }),
  );
  const calls = load.count * load.callsEach;
  // while those in flight wait for Redis all the others have their answer
  const answered = (): number => [...codes.values()].reduce((sum, count) => sum + count, 0);
  await until(() => answered() >= calls - MAX_IN_FLIGHT);
  expect(codes.get(Code.RESOURCE_EXHAUSTED)).toBeGreaterThan(0);
  // on a slow machine Redis may count as away by then
  const early = new Set<number | undefined>([Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE]);
  expect([...codes.keys()].filter((code) => !early.has(code))).toEqual([]);
  redis.signal('SIGCONT');
  await Promise.all(answers);
  await untilServed();
  expect(watch.statuses).toEqual(['SERVING']);
  watch.cancel();
});

test('thousands of connections: those beyond the bound are closed, and who is in goes on', async () => {
  await untilServed();
  const before = (await scrape(admin)).get('shardkeep_rpc_rejected_total{reason="connections"}') ?? 0;
  const watch = new HealthWatch(health.client, 'liveness');
  const [inside] = connections(1);
  expect(await inside?.request({ path: GET, body: MESSAGE })).toMatchObject({ grpcStatus: Code.OK });
  const open = new Set<RawConnection>();
  let closed = 0;
  for (let wave = 0; wave < 10; wave++) {
    for (let n = 0; n < 200; n++) {
      const connection = new RawConnection(service.address);
      connection.socket.resume();
      open.add(connection);
      void connection.closed.then(() => {
        closed++;
        open.delete(connection);
      });
    }
    expect(await inside?.request({ path: GET, body: MESSAGE })).toMatchObject({ grpcStatus: Code.OK });
  }
  await until(() => open.size < MAX_CONNECTIONS);
  expect((await scrape(admin)).get('shardkeep_rpc_rejected_total{reason="connections"}')).toBe(before + closed);
  expect(await inside?.request({ path: GET, body: MESSAGE })).toMatchObject({ grpcStatus: Code.OK });
  for (const { socket } of open) socket.destroy();
  await untilServed();
  expect(watch.statuses).toEqual(['SERVING']);
  watch.cancel();
});

test('callers that never read their answers cost what they may, and the others are answered', async () => {
  await untilServed();
  const cache = service.channel().of(CacheServiceService);
  await cache.set({ key: 'x', value: Buffer.alloc(1_000_000, 7) });
  const ask = (caller: Http2Caller): Promise<void> =>
    new Promise((resolve) => {
      const stream = caller.session.request({ ':method': 'POST', ':path': GET, 'content-type': 'application/grpc' });
      // without a listener for its headers the answer would be read, and thrown away
      stream.on('response', () => {
        resolve();
      });
      stream.on('error', () => undefined).on('close', resolve);
      stream.end(MESSAGE);
    });
  for (const caller of connections(10)) {
    for (const half of [30, 30]) await Promise.all(Array.from({ length: half }, () => ask(caller)));
  }
  // 10 connections want 600 MB of answers; each may leave 32 MiB unread, and all of them 256 MiB
  expect((await scrape(admin)).get('shardkeep_rpc_rejected_total{reason="slow_reader"}')).toBeGreaterThan(100);
  expect((await cache.get({ key: 'x' })).entry?.value.length).toBe(1_000_000);
  const resident = (await scrape(admin)).get('shardkeep_process_resident_memory_bytes') ?? Infinity;
  expect(resident).toBeLessThan(600_000_000 + 100_000_000);
  await cache.delete({ keys: ['x'] });
});
