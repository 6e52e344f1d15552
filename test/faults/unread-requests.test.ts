import { fileURLToPath } from 'node:url';
import { status as Code } from '@grpc/grpc-js';
import { afterEach, beforeAll, afterAll, expect, test } from '@jest/globals';
import { SetRequest } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { CredentialsFile, newToken } from '../support/credentials.js';
import { grpcMessage, Http2Caller } from '../support/http2-caller.js';
import { scrape } from '../support/metrics.js';
import { freePort, startRedis, until, type RedisServer } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess, type ServiceProcess } from '../support/service-process.js';

/** What a caller may make the service hold before it has a call to work at: without a credential, next to nothing. */

const LIVE_MEMORY = fileURLToPath(new URL('../support/live-memory.mjs', import.meta.url));
const SET = '/shardkeep.cache.v1.CacheService/Set';
const CHECK = '/grpc.health.v1.Health/Check';
const WATCH = '/grpc.health.v1.Health/Watch';
const NAMESPACE = 't-unread-requests';
const MEGABYTE = 1_000_000;

const token = newToken();
const authorized = { authorization: `Bearer ${token.text}` };

let redis: RedisServer;
let credentials: CredentialsFile;
let service: ServiceProcess;
let admin: string;
let callers: Http2Caller[] = [];

beforeAll(async () => {
  redis = await startRedis();
  credentials = new CredentialsFile([{ name: 'game', namespaces: [NAMESPACE], tokens: [token] }]);
  admin = `127.0.0.1:${String(await freePort())}`;
  service = await startServiceProcess(
    {
      ...{ REDIS_URL: redis.url, ADMIN_LISTEN: admin, CREDENTIALS_FILE: credentials.path },
      // nothing here is to be over because its time is
      ...{ DEFAULT_DEADLINE_MS: '60000', MAX_DEADLINE_MS: '60000', REDIS_TIMEOUT_MS: '60000' },
    },
    { nodeArgs: ['--expose-gc', '--import', LIVE_MEMORY] },
  );
});
afterEach(() => {
  redis.signal('SIGCONT');
  for (const caller of callers) caller.close();
  callers = [];
});
afterAll(async () => {
  await killServiceProcesses();
  await redis.remove();
  credentials.remove();
});

function connection(): Http2Caller {
  const caller = new Http2Caller(service.address);
  callers.push(caller);
  return caller;
}

/** `HealthCheckRequest {service}` of a name of that many bytes. */
function nameOf(length: number, letter: string): Buffer {
  const digits: number[] = [];
  let rest = length;
  for (; rest > 0x7f; rest >>= 7) digits.push((rest & 0x7f) | 0x80);
  return grpcMessage(Buffer.concat([Buffer.from([0x0a, ...digits, rest]), Buffer.alloc(length, letter)]));
}

/** A message of a request of which only the first half comes, and no end. */
function half(megabytes: number): Buffer {
  const message = Buffer.alloc(5 + (megabytes * MEGABYTE) / 2);
  message.writeUInt32BE(megabytes * MEGABYTE, 1);
  return message;
}

async function liveBytes(): Promise<number> {
  const seen = service.logs.length;
  service.signal('SIGUSR2');
  const { bytes } = await service.log((line) => line.msg === 'live memory' && service.logs.indexOf(line) >= seen);
  return Number(bytes);
}

async function setTheOthers(caller: Http2Caller): Promise<number | undefined> {
  const { grpcStatus } = await caller.request({
    path: SET,
    body: grpcMessage(Buffer.from(SetRequest.encode(SetRequest.fromPartial({ key: 'others' })).finish())),
    headers: authorized,
  });
  return grpcStatus;
}

async function othersAreServed(): Promise<void> {
  expect(await setTheOthers(connection())).toBe(Code.OK);
}

test('names of services that there are not are forgotten, however long they are', async () => {
  const caller = connection();
  expect((await caller.request({ path: CHECK, body: nameOf(100_000, 'x') })).grpcStatus).toBe(Code.NOT_FOUND);
  const watch = (letter: string): Promise<void> =>
    new Promise((resolve) => {
      const stream = caller.session.request({ ':method': 'POST', ':path': WATCH, 'content-type': 'application/grpc' });
      stream.on('error', () => undefined).on('close', resolve);
      // it has said that it does not know the service
      stream.on('data', () => {
        stream.close();
      });
      stream.end(nameOf(MEGABYTE, letter));
    });
  await watch('?');
  const before = await liveBytes();
  for (const letter of 'abcdefghijklmnopqrstuvwxyz') await watch(letter);
  await until(async () => (await liveBytes()) - before < 5 * MEGABYTE);
});

test('a connection watches no more than it can have use for', async () => {
  const caller = connection();
  let refused = 0;
  for (let n = 0; n < 100; n++) {
    void caller.request({ path: WATCH, body: nameOf(1, 'x') }).then(({ grpcStatus }) => {
      if (grpcStatus === Code.RESOURCE_EXHAUSTED) refused++;
    });
  }
  await until(() => refused >= 100 - 32);
  expect(refused).toBe(100 - 32);
});

test('who shows no credential is refused before the request is there', async () => {
  const caller = connection();
  const headers = [{}, { authorization: 'Bearer of-nobody' }];
  for (const header of headers) {
    const answer = await caller.request({ path: SET, body: half(4), headers: header, ends: false });
    expect(answer.grpcStatus).toBe(Code.UNAUTHENTICATED);
  }
  await othersAreServed();
});

test('the connection with most of the requests that do not end is closed when it is too much', async () => {
  const count = async (): Promise<number> =>
    (await scrape(admin)).get('shardkeep_rpc_rejected_total{reason="slow_request"}') ?? 0;
  const before = await count();
  const [hoarder, other] = [connection(), connection()];
  void other.request({ path: SET, body: half(4), headers: authorized, ends: false });
  for (let sent = 0; sent < 300 && !hoarder.session.destroyed; sent++) {
    void hoarder.request({ path: SET, body: half(4), headers: authorized, ends: false });
    // one that says nothing else would be closed for that
    await setTheOthers(hoarder);
  }
  await hoarder.closed;
  expect(await count()).toBe(before + 1);
  expect(other.session.destroyed).toBe(false);
  await othersAreServed();
});

test('large calls that wait for Redis are refused when they are too much', async () => {
  const request = SetRequest.fromPartial({ key: 'x', value: Buffer.alloc(MEGABYTE) });
  const body = grpcMessage(Buffer.from(SetRequest.encode(request).finish()));
  const caller = connection();
  redis.signal('SIGSTOP');
  const codes: (number | undefined)[] = [];
  const codesOf = (code: Code): number => codes.filter((each) => each === code).length;
  const send = (count: number): void => {
    for (let n = 0; n < count; n++) {
      void caller.request({ path: SET, body, headers: authorized }).then(({ grpcStatus }) => codes.push(grpcStatus));
    }
  };
  // not all at once: that would be too much before it is complete
  for (const sent of [80, 160, 240]) {
    send(80);
    await until(async () => (await scrape(admin)).get('shardkeep_rpc_in_flight') === sent);
  }
  send(60);
  // before Redis has answered anything
  await until(() => codes.length === 32);
  expect(codesOf(Code.RESOURCE_EXHAUSTED)).toBe(32);
  redis.signal('SIGCONT');
  await until(() => codes.length === 300);
  expect(codesOf(Code.OK)).toBe(268);
  await othersAreServed();
});
