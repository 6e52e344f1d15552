import { Metadata, status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { CacheServiceService } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { AcquireLockStatus, LockServiceService } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { SessionEventType, SessionServiceService } from '../../src/gen/shardkeep/session/v1/session.js';
import { keys } from '../../src/redis/keys.js';
import { failureOf, metadataOf, TestChannel, type Caller } from '../support/client.js';
import { CredentialsFile, newToken, type TestPrincipal } from '../support/credentials.js';
import { checkHealth } from '../support/health-client.js';
import { codeOf, RawPipeline } from '../support/pipeline-stream.js';
import { rawRedis, type RawRedis } from '../support/raw-redis.js';
import { until } from '../support/redis-server.js';
import { reflect } from '../support/reflection-client.js';
import { randomNamespace, sharedRedisUrl, startTestService, type TestService } from '../support/service.js';
import { openStream } from '../support/stream-client.js';
import { Hold } from '../lock/hold-support.js';
import { get, METHODS } from '../pipeline/requests.js';

/** Who may call, by a credentials file; what they may is in allowed-rpcs.test.ts, whose data in tenants.test.ts. */

const SHARD = randomNamespace();
const SECOND = randomNamespace();
const OTHER = randomNamespace();
const LATER = randomNamespace();

const shard = newToken();
const admin = newToken();
const expired = newToken();
const bounded = newToken();

const BASE: readonly TestPrincipal[] = [
  {
    name: 'shard',
    namespaces: [SHARD, SECOND],
    tokens: [shard, { ...expired, expires_at: '2020-01-01T00:00:00Z' }],
  },
  { name: 'operator', namespaces: [OTHER], tokens: [admin], admin: true },
  { name: 'bounded', namespaces: [OTHER], tokens: [bounded], max_in_flight: 1, max_streams: 1 },
];

const file = new CredentialsFile(BASE);
const channels: TestChannel[] = [];
let service: TestService;
let redis: RawRedis;

beforeAll(async () => {
  redis = await rawRedis('standalone');
  service = await startTestService({
    REDIS_URL: sharedRedisUrl('standalone'),
    CREDENTIALS_FILE: file.path,
    REFLECTION: '1',
  });
});
afterAll(async () => {
  for (const channel of channels) channel.close();
  await service.stop();
  await redis.close();
  file.remove();
});

function channelOf(caller: Caller | Metadata): TestChannel {
  const metadata = caller instanceof Metadata ? caller : metadataOf(caller);
  const channel = new TestChannel(service.address, undefined, { metadata });
  channels.push(channel);
  return channel;
}

const cacheOf = (caller: Caller | Metadata) => channelOf(caller).of(CacheServiceService);
const codeOfGet = async (caller: Caller | Metadata): Promise<number> => {
  try {
    await cacheOf(caller).get({ key: 'k' });
    return Code.OK;
  } catch (error) {
    return (error as { readonly code: number }).code;
  }
};

/** Puts other credentials in force, and waits until they are. */
async function replace(principals: readonly TestPrincipal[]): Promise<void> {
  const name = 'shardkeep_credentials_reloads_total{result="applied"}';
  const applied = async (): Promise<number> =>
    Number(metricText(await service.service.metrics.registry.metrics(), name));
  const before = await applied();
  file.write(principals);
  await until(async () => (await applied()) > before);
}

describe('a call is let in', () => {
  test('by a token of the file, in the first namespace of its principal', async () => {
    const cache = cacheOf({ token: shard.text });
    await cache.set({ key: 'whose', value: Buffer.from('first') });
    expect((await cacheOf({ token: shard.text, namespace: SHARD }).get({ key: 'whose' })).entry).toBeDefined();
    expect((await cacheOf({ token: shard.text, namespace: SECOND }).get({ key: 'whose' })).entry).toBeUndefined();
  });

  test('with the scheme written in any way', async () => {
    const metadata = new Metadata();
    metadata.set('authorization', `bEARER ${shard.text}`);
    expect(await codeOfGet(metadata)).toBe(Code.OK);
  });

  test.each([OTHER, 'nowhere', '', `${SHARD}:`])(
    'but not in the namespace %j, which is not its own',
    async (namespace) => {
      const failure = await failureOf(cacheOf({ token: shard.text, namespace }).get({ key: 'k' }));
      expect(failure).toMatchObject({
        code: Code.PERMISSION_DENIED,
        reason: 'NOT_ALLOWED',
        metadata: { refused: 'namespace' },
      });
    },
  );

  test('nor in two at once', async () => {
    const metadata = metadataOf({ token: shard.text, namespace: SHARD });
    metadata.add('shardkeep-namespace', SECOND);
    expect(await codeOfGet(metadata)).toBe(Code.PERMISSION_DENIED);
  });
});

describe('a call is refused, and not told why,', () => {
  const header = (value: string): Metadata => {
    const metadata = new Metadata();
    metadata.set('authorization', value);
    return metadata;
  };
  const wrong: readonly (readonly [string, Metadata])[] = [
    ['without a credential', new Metadata()],
    ['with one of nobody', metadataOf({ token: newToken().text })],
    ['with one that has expired', metadataOf({ token: expired.text })],
    ['with the hash in place of the token', metadataOf({ token: shard.sha256 })],
    ['with the beginning of one', metadataOf({ token: shard.text.slice(0, -1) })],
    ['with more than one', metadataOf({ token: `${shard.text}x` })],
    ['with an empty header', header('')],
    ['with a token and no scheme', header(shard.text)],
    ['with no token', header('Bearer')],
    ['with another scheme', header(`Basic ${shard.text}`)],
    ['with two tokens in a header', header(`Bearer ${shard.text}, Bearer ${shard.text}`)],
    ['with a token that is long', header(`Bearer ${'x'.repeat(7_000)}`)],
  ];

  test.each(wrong)('%s', async (_, metadata) => {
    const failure = await failureOf(cacheOf(metadata).get({ key: 'k' }));
    expect(failure).toEqual({
      ...{ code: Code.UNAUTHENTICATED, reason: 'BAD_CREDENTIAL', metadata: {}, fields: [], retryAfterMs: undefined },
    });
    const pipeline = new RawPipeline(service.address, metadata);
    expect((await pipeline.ended).code).toBe(Code.UNAUTHENTICATED);
    const watch = openStream(channelOf(metadata), SessionServiceService.watchSessions, { all: true });
    expect(await watch.code()).toBe(Code.UNAUTHENTICATED);
  });
});

test('health is open, and reflection is for admins', async () => {
  expect(await checkHealth(service.channel, '')).toBe('SERVING');
  const question = { listServices: '' };
  const asks = (caller: Caller): Promise<unknown> => {
    const channel = channelOf(caller);
    return reflect(channel.client, question, channel.metadata);
  };
  await expect(asks({})).rejects.toMatchObject({ code: Code.UNAUTHENTICATED });
  await expect(asks({ token: shard.text })).rejects.toMatchObject({ code: Code.PERMISSION_DENIED });
  await expect(asks({ token: admin.text })).resolves.toBeDefined();
});

describe('a principal', () => {
  test('has no more calls in flight than it may, those that wait among them, and others have', async () => {
    const locks = channelOf({ token: bounded.text }).of(LockServiceService);
    const others = channelOf({ token: admin.text }).of(LockServiceService);
    await others.acquireLock({ resources: ['door'], ttlMs: 600_000n });
    const waiting = locks.acquireLock(
      { resources: ['door'], ttlMs: 1_000n, waitMs: 30_000n },
      { deadline: inAWhile() },
    );
    await until(async () => (await others.getLock({ resource: 'door' })).waiters.length === 1);
    const failure = await failureOf(locks.getLock({ resource: 'door' }));
    expect(failure).toMatchObject({ code: Code.RESOURCE_EXHAUSTED, reason: 'OVERLOADED' });
    expect(failure.retryAfterMs).toBeGreaterThan(0);
    const operators = channelOf({ token: admin.text }).of(LockServiceService);
    await operators.forceReleaseLock({ resource: 'door', reason: 'test' });
    expect((await waiting).status).toBe(AcquireLockStatus.GRANTED);
    await expect(locks.getLock({ resource: 'door' })).resolves.toBeDefined();
  });

  test('has no more streams open than it may, the pipeline among them', async () => {
    const channel = channelOf({ token: bounded.text });
    const watch = openStream(channel, CacheServiceService.watch);
    watch.send({ addKeys: ['k'] });
    await watch.untilMessages(1);
    const pipeline = new RawPipeline(channel.client, channel.metadata);
    expect((await pipeline.ended).code).toBe(Code.RESOURCE_EXHAUSTED);
    const second = openStream(channel, SessionServiceService.watchSessions, { all: true });
    expect(await second.code()).toBe(Code.RESOURCE_EXHAUSTED);
    watch.cancel();
    await until(async () => {
      const next = new RawPipeline(channel.client, channel.metadata);
      const isOpen = await next
        .until(() => next.frames.length > 0)
        .then(
          () => true,
          () => false,
        );
      next.cancel();
      return isOpen;
    });
  });
});

describe('other credentials', () => {
  test('act without a restart: both tokens while they are rotated, then the new one, and the old one ends', async () => {
    const next = newToken();
    const old = cacheOf({ token: shard.text });
    const [first = { name: '', namespaces: [] }, ...rest] = BASE;
    await replace([{ ...first, tokens: [shard, next] }, ...rest]);
    await old.get({ key: 'k' });
    expect(await codeOfGet({ token: next.text })).toBe(Code.OK);
    await replace([{ ...first, tokens: [next] }, ...rest]);
    expect((await failureOf(old.get({ key: 'k' }))).code).toBe(Code.UNAUTHENTICATED);
    expect(await codeOfGet({ token: next.text })).toBe(Code.OK);
    await replace(BASE);
  });

  test('end the streams of a credential that is taken away, and those of others go on', async () => {
    const channel = channelOf({ token: shard.text });
    const watch = openStream(channel, CacheServiceService.watch);
    watch.send({ addKeys: ['k'] });
    const sessions = openStream(channel, SessionServiceService.watchSessions, { all: true });
    const hold = new Hold(channel);
    await hold.take('held');
    const pipeline = new RawPipeline(channel.client, channel.metadata);
    const others = new RawPipeline(service.address, metadataOf({ token: admin.text }));
    pipeline.send({ methods: METHODS, calls: [{ id: 1, request: get('k') }] });
    others.send({ methods: METHODS, calls: [{ id: 1, request: get('k') }] });
    await Promise.all([watch.untilMessages(1), sessions.untilMessages(1)]);
    expect(codeOf((await pipeline.untilAnswers(1))[0])).toBe(Code.OK);
    const [, ...rest] = BASE;
    await replace(rest);
    expect(await Promise.all([watch.code(), sessions.code(), hold.stream.code()])).toEqual([
      Code.UNAUTHENTICATED,
      Code.UNAUTHENTICATED,
      Code.UNAUTHENTICATED,
    ]);
    pipeline.send({ calls: [{ id: 2, request: get('k') }] });
    expect((await pipeline.ended).code).toBe(Code.UNAUTHENTICATED);
    expect(pipeline.answers.slice(1).map(codeOf)).toEqual(pipeline.answers.slice(1).map(() => Code.UNAUTHENTICATED));
    others.send({ calls: [{ id: 2, request: get('k') }] });
    expect((await others.untilAnswers(2)).map(codeOf)).toEqual([Code.OK, Code.OK]);
    others.cancel();
    await replace(BASE);
    // its locks were let go
    const { status } = await channel.of(LockServiceService).acquireLock({ resources: ['held'], ttlMs: 600_000n });
    expect(status).toBe(AcquireLockStatus.GRANTED);
  });

  test('end the streams of one that expires while they are open', async () => {
    const soon = newToken();
    const [first = { name: '', namespaces: [] }, ...rest] = BASE;
    const expiresAt = new Date(Date.now() + 3_000).toISOString();
    await replace([{ ...first, tokens: [shard, { ...soon, expires_at: expiresAt }] }, ...rest]);
    const channel = channelOf({ token: soon.text });
    await channel.of(CacheServiceService).get({ key: 'k' });
    const watch = openStream(channel, SessionServiceService.watchSessions, { all: true });
    const pipeline = new RawPipeline(channel.client, channel.metadata);
    expect(await watch.code()).toBe(Code.UNAUTHENTICATED);
    expect((await pipeline.ended).code).toBe(Code.UNAUTHENTICATED);
    expect(await codeOfGet({ token: soon.text })).toBe(Code.UNAUTHENTICATED);
    await replace(BASE);
  });

  test('take rights from streams that are open, and from calls inside the pipeline', async () => {
    const channel = channelOf({ token: shard.text });
    const watch = openStream(channel, SessionServiceService.watchSessions, { all: true });
    await watch.untilMessages(1);
    const pipeline = new RawPipeline(channel.client, channel.metadata);
    pipeline.send({ methods: METHODS, calls: [{ id: 1, request: get('k') }] });
    await pipeline.untilAnswers(1);
    const [first = { name: '', namespaces: [] }, ...rest] = BASE;
    await replace([{ ...first, rpcs: ['shardkeep.lock.v1.LockService/*'] }, ...rest]);
    expect(await watch.code()).toBe(Code.PERMISSION_DENIED);
    pipeline.send({ calls: [{ id: 2, request: get('k') }] });
    expect((await pipeline.untilAnswers(2)).map(codeOf)).toEqual([Code.OK, Code.PERMISSION_DENIED]);
    await replace([{ ...first, namespaces: [SECOND] }, ...rest]);
    expect((await pipeline.ended).code).toBe(Code.PERMISSION_DENIED);
    await replace(BASE);
  });

  test('bring namespaces in which everything works, the sweeper and the metrics too', async () => {
    const later = newToken();
    await replace([...BASE, { name: 'later', namespaces: [LATER], tokens: [later], admin: true }]);
    const sessions = channelOf({ token: later.text }).of(SessionServiceService);
    const watch = openStream(channelOf({ token: later.text }), SessionServiceService.watchSessions, { all: true });
    await watch.untilMessages(1);
    const { session } = await sessions.createSession({ userId: 'ada' });
    await sessions.destroySession({ sessionId: session?.sessionId ?? '', effectiveInMs: 50n });
    // only a sweeper of the namespace ends it
    const types = (): number[] => watch.messages.flatMap(({ events }) => events.map(({ type }) => type));
    await until(() => types().includes(SessionEventType.DESTROYED));
    const text = await service.service.metrics.registry.metrics();
    expect(text).toMatch(new RegExp(`shardkeep_cache_writes_total\\{namespace="${LATER}"`));
    const isSwept = async (): Promise<boolean> => (await redis.command('EXISTS', keys.sweeper(LATER))) === 1;
    await until(isSwept);
    await replace(BASE);
    // the lease of a sweeper that went on would be renewed
    await until(async () => !(await isSwept()));
  });

  test('are refused whole where the file is bad, and those before stay', async () => {
    const refused = async (): Promise<string> =>
      metricText(await service.service.metrics.registry.metrics(), 'shardkeep_credentials_refused') ?? '';
    file.writeText('principals: [');
    await until(async () => (await refused()) === '1');
    expect(await codeOfGet({ token: shard.text })).toBe(Code.OK);
    await replace([...BASE]);
    expect(await refused()).toBe('0');
  });
});

test('what was wrong is counted', async () => {
  const text = await service.service.metrics.registry.metrics();
  for (const reason of ['missing', 'malformed', 'unknown', 'expired']) {
    expect(Number(metricText(text, `shardkeep_authentication_failures_total{reason="${reason}"}`))).toBeGreaterThan(0);
  }
});

function inAWhile(): number {
  return Date.now() + 40_000;
}

function metricText(text: string, name: string): string | undefined {
  return text
    .split('\n')
    .find((line) => line.startsWith(`${name} `))
    ?.slice(name.length + 1);
}
