import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { CacheServiceService, GetOrLeaseStatus, ListSide } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { LockServiceService } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { Algorithm, RateLimitServiceService, type Limit } from '../../src/gen/shardkeep/ratelimit/v1/ratelimit.js';
import { SessionServiceService } from '../../src/gen/shardkeep/session/v1/session.js';
import { Hold } from '../lock/hold-support.js';
import { metadataOf, TestChannel } from '../support/client.js';
import { CredentialsFile, newToken } from '../support/credentials.js';
import { DatabaseSnapshot } from '../support/database-snapshot.js';
import { RawPipeline, responseOf } from '../support/pipeline-stream.js';
import { encode, protoRpcs, type Plain, type ProtoRpc } from '../support/proto.js';
import { randomNamespace, startTestService, type TestService } from '../support/service.js';
import { openStream } from '../support/stream-client.js';
import { goodRequests, type Fixture } from './good-requests.js';

/**
 * Tenants: the first one has something of everything; the second sends every RPC with the keys, ids, tokens, cursors and
 * reservations of the first. What it is answered has nothing of the first one's in it, changes nothing there, and is what a
 * third one is answered that asks the same when nothing of the first is left.
 */

const FIRST = randomNamespace();
const SECOND = randomNamespace();
const THIRD = randomNamespace();
/** In all that the first one writes and that no request names. */
const CANARY = 'canary';

const tenants = [FIRST, SECOND, THIRD].map((namespace) => ({ namespace, token: newToken() }));
const file = new CredentialsFile(
  tenants.map(({ namespace, token }, index) => ({
    ...{ name: `tenant-${String(index)}`, namespaces: [namespace], tokens: [token] },
    ...{ admin: true, inline_policies: true },
  })),
);

let database: DatabaseSnapshot;
let service: TestService;
const channels: TestChannel[] = [];

beforeAll(async () => {
  database = await DatabaseSnapshot.open();
  await database.command(['FLUSHDB']);
  service = await startTestService({ REDIS_URL: database.url, CREDENTIALS_FILE: file.path });
});
afterAll(async () => {
  for (const channel of channels) channel.close();
  await service.stop();
  await database.command(['FLUSHDB']);
  await database.close();
  file.remove();
});

function channelOf(namespace: string): TestChannel {
  const token = tenants.find((tenant) => tenant.namespace === namespace)?.token.text;
  const channel = new TestChannel(service.address, undefined, { metadata: metadataOf({ token }) });
  channels.push(channel);
  return channel;
}

/** What the first one has that others could present. */
interface Stolen extends Fixture {
  readonly leaseToken: Buffer;
  readonly reservationId: string;
  readonly requestId: string;
  readonly epoch: bigint;
  readonly pages: { readonly members: string; readonly locks: Buffer; readonly bans: Buffer };
}

const byName = (subject: string, policy: string): Limit => ({
  ...{ subject, policy: { $case: 'policyName', value: policy }, cost: undefined, role: undefined, subjects: undefined },
});
/** `auth` admits 5. */
const AUTH = byName('user:limited', 'auth');
const canary = Buffer.from(CANARY);

/** Something of everything, under the names that the good requests use. */
async function fill(channel: TestChannel): Promise<Stolen> {
  const cache = channel.of(CacheServiceService);
  const sessions = channel.of(SessionServiceService);
  const locks = channel.of(LockServiceService);
  const limits = channel.of(RateLimitServiceService);
  for (const key of ['key', 'a', 'b', 'no-such:key']) await cache.set({ key, value: canary, tags: ['a', 'tag'] });
  await cache.increment({ key: 'counter', delta: 41n });
  const members = Array.from({ length: 300 }, (_, index) => Buffer.from(`${CANARY}-${String(index)}`));
  for (let from = 0; from < members.length; from += 100) {
    await cache.addToSet({ key: 'set', members: members.slice(from, from + 100) });
  }
  await cache.pushToList({ key: 'list', side: ListSide.TAIL, items: [canary, canary] });
  const { leaseToken } = await cache.getOrLease({ key: 'leased', leaseMs: 600_000n });
  const { nextPageToken } = await cache.getSetMembers({ key: 'set', pageSize: 10 });
  const requestId = randomUUID();
  const userId = 'user';
  const { session, sessionToken } = await sessions.createSession({ userId, username: CANARY, requestId });
  const { sessionId = '' } = session ?? {};
  const { claim } = await sessions.claimCharacter({ userId, characterId: 'char-1', sessionId, owner: CANARY });
  const resource = 'resource-1';
  const { lockToken } = await locks.acquireLock({ resources: [resource], ttlMs: 600_000n, owner: CANARY, requestId });
  for (let index = 2; index < 5; index++) {
    await locks.acquireLock({ resources: [`resource-${String(index)}`], ttlMs: 600_000n, owner: CANARY });
  }
  for (let hit = 0; hit < 6; hit++) await limits.checkRateLimit({ limits: [AUTH] });
  for (const subject of ['user:1', 'user:2', 'user:3']) {
    await limits.ban({ subject, policyName: '', ttlMs: 600_000n, reason: CANARY });
  }
  const reserved = await limits.reserveRateLimit({ limits: [byName('user:reserved', 'api')], cost: 2 });
  const [lockPage, banPage] = await Promise.all([
    locks.listLocks({ prefix: 'resource-', pageSize: 1 }),
    limits.listBans({ subjectPrefix: 'user:', pageSize: 1 }),
  ]);
  const { reservationId } = reserved;
  return {
    ...{ userId, sessionId, sessionToken, resource, lockToken, leaseToken, reservationId, requestId },
    epoch: claim?.epoch ?? 0n,
    pages: { members: nextPageToken, locks: lockPage.nextPageToken, bans: banPage.nextPageToken },
  };
}

/** Beside the good requests: with what only the first one was given. */
function stolenRequests(stolen: Stolen): Readonly<Record<string, readonly Plain[]>> {
  const { leaseToken, reservationId, requestId, userId, sessionToken, sessionId, resource, lockToken, pages } = stolen;
  const limits = [{ subject: 'user:limited', policy_name: 'auth' }];
  const lease = { key: 'leased', lease_token: leaseToken };
  const acquire = { resources: [resource], ttl_ms: '600000', request_id: requestId };
  const epoch = String(stolen.epoch);
  return {
    'shardkeep.cache.v1.CacheService/Get': [{ key: 'leased' }, { key: `${FIRST}:cache:{key}` }],
    'shardkeep.cache.v1.CacheService/GetOrLease': [{ key: 'key', lease_ms: '1000' }],
    'shardkeep.cache.v1.CacheService/Fill': [{ ...lease, value: Buffer.from('theirs') }],
    'shardkeep.cache.v1.CacheService/RenewLease': [{ ...lease, lease_ms: '1000' }],
    'shardkeep.cache.v1.CacheService/FailLease': [{ ...lease, retry_after_ms: '1' }],
    'shardkeep.cache.v1.CacheService/GetSetMembers': [{ key: 'set', page_size: 10, page_token: pages.members }],
    'shardkeep.cache.v1.CacheService/Delete': [{ keys: ['key', 'counter', 'set', 'list', 'leased'] }],
    'shardkeep.cache.v1.CacheService/DeletePattern': [{ pattern: '*', allow_all: true }],
    'shardkeep.session.v1.SessionService/CreateSession': [{ user_id: userId, request_id: requestId }],
    'shardkeep.session.v1.SessionService/RotateSession': [{ session_token: sessionToken }],
    'shardkeep.session.v1.SessionService/DestroyUserSessions': [{ user_id: userId }],
    'shardkeep.session.v1.SessionService/ReleaseCharacter': [{ user_id: userId, character_id: 'char-1', epoch }],
    'shardkeep.session.v1.SessionService/CheckCharacterClaim': [{ user_id: userId, character_id: 'char-1', epoch }],
    'shardkeep.session.v1.SessionService/DestroySession': [{ session_id: sessionId }],
    'shardkeep.lock.v1.LockService/AcquireLock': [acquire],
    'shardkeep.lock.v1.LockService/ReleaseLock': [{ resources: [resource], lock_token: lockToken }],
    'shardkeep.lock.v1.LockService/ForceReleaseLock': [{ resource, reason: 'theirs' }],
    'shardkeep.lock.v1.LockService/ListLocks': [{ prefix: 'resource-', page_size: 1, page_token: pages.locks }, {}],
    'shardkeep.ratelimit.v1.RateLimitService/CheckRateLimit': [{ limits }],
    'shardkeep.ratelimit.v1.RateLimitService/PeekRateLimit': [{ limits }],
    'shardkeep.ratelimit.v1.RateLimitService/ResetRateLimit': [{ limits }],
    'shardkeep.ratelimit.v1.RateLimitService/SettleRateLimit': [{ reservation_id: reservationId, cost: 0 }],
    'shardkeep.ratelimit.v1.RateLimitService/RefundRateLimit': [{ reservation_id: reservationId }],
    'shardkeep.ratelimit.v1.RateLimitService/Unban': [{ subject: 'user:1' }],
    'shardkeep.ratelimit.v1.RateLimitService/ListBans': [
      { subject_prefix: 'user:', page_size: 1, page_token: pages.bans },
      {},
    ],
  };
}

/** The field names and lengths of lists of an answer, with its statuses and flags; not its times, ids and tokens. */
function shapeOf(value: unknown, field = ''): unknown {
  if (Array.isArray(value)) return value.map((item) => shapeOf(item, field));
  if (Buffer.isBuffer(value) || value instanceof Uint8Array) return `bytes ${value.length > 0 ? 'there' : 'none'}`;
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, shapeOf(inner, name)]));
  }
  if (typeof value === 'number') return /status|_count$|remaining$/i.test(field) ? value : 'number';
  if (typeof value === 'bigint') return value === 0n ? 'none' : 'some';
  return typeof value === 'boolean' ? value : typeof value;
}

interface Answer {
  readonly bytes: Buffer;
  readonly code: number;
}

const NOTHING = Buffer.alloc(0);

async function settled(call: Promise<Buffer | undefined>): Promise<Answer> {
  return call.then(
    (bytes = NOTHING) => ({ bytes, code: 0 }),
    (error: unknown) => ({ bytes: NOTHING, code: (error as { readonly code: number }).code }),
  );
}

/** Sends a request in both ways; a stream's first answer stands for it. */
async function askBoth(channel: TestChannel, rpc: ProtoRpc, request: Buffer): Promise<readonly Answer[]> {
  // a watch that has nothing to tell says nothing: `streams` below are for those
  if (/\/(Watch|WatchSessions|WatchLocks|HoldLocks|HoldConcurrency)$/.test(rpc.name)) return [];
  const alone = await settled(channel.rawRpc(rpc, request));
  if (!rpc.isUnary) return [alone];
  const pipeline = new RawPipeline(channel.client, channel.metadata);
  pipeline.send({ methods: [rpc.name], calls: [{ id: 1, request }] });
  const [answer] = await pipeline.untilAnswers(1);
  pipeline.cancel();
  const failed = answer?.outcome?.$case === 'failure' ? answer.outcome.value.code : undefined;
  return [alone, failed === undefined ? { bytes: responseOf(answer), code: 0 } : { bytes: NOTHING, code: failed }];
}

/** Every request to every RPC in the order of the contract, and what came of it. */
async function askAll(channel: TestChannel, requests: ReadonlyMap<ProtoRpc, readonly Buffer[]>) {
  const answers: { readonly rpc: ProtoRpc; readonly answers: readonly Answer[] }[] = [];
  for (const [rpc, each] of requests) {
    for (const request of each) answers.push({ rpc, answers: await askBoth(channel, rpc, request) });
  }
  return answers;
}

/** Of the first one, all of it: what it counts for itself comes when it comes. */
const dataOfFirst = async (): Promise<string> => {
  const all = await database.take({ without: /^[^:]+:(stats|hot):/ });
  return all
    .split('\n')
    .filter((line) => line.startsWith(`${FIRST}:`))
    .join('\n');
};

describe('what the first tenant has', () => {
  let stolen: Stolen;
  let requests: Map<ProtoRpc, readonly Buffer[]>;
  let before: string;
  let after: string;
  let seen: Awaited<ReturnType<typeof askAll>>;

  beforeAll(async () => {
    stolen = await fill(channelOf(FIRST));
    const more = stolenRequests(stolen);
    const names = new Set(protoRpcs.map(({ name }) => name));
    const unknown = Object.keys(more).filter((name) => !names.has(name));
    if (unknown.length > 0) throw new Error(`no such RPC: ${unknown.join()}`);
    requests = new Map(
      protoRpcs.map((rpc) => {
        const plain = [goodRequests[rpc.name]?.(stolen) ?? {}, ...(more[rpc.name] ?? [])];
        return [rpc, plain.map((request) => encode(rpc.request, request))];
      }),
    );
    before = await dataOfFirst();
    seen = await askAll(channelOf(SECOND), requests);
    after = await dataOfFirst();
  });

  test('is as it was', () => {
    expect(before).toContain(`${FIRST}:session:`);
    expect(after).toBe(before);
  });

  test('is in no answer to the second', () => {
    const told = seen.filter(({ answers }) => answers.some(({ bytes }) => bytes.includes(CANARY)));
    expect(told.map(({ rpc }) => rpc.name)).toEqual([]);
    // it was asked something
    expect(seen.flatMap(({ answers }) => answers).filter(({ code }) => code === 0).length).toBeGreaterThan(100);
  });

  test('is still there for itself, and nothing of it is used up', async () => {
    const channel = channelOf(FIRST);
    const { entry } = await channel.of(CacheServiceService).get({ key: 'key' });
    expect(Buffer.from(entry?.value ?? '').toString()).toBe(CANARY);
    const fill = { key: 'leased', leaseToken: stolen.leaseToken, result: { $case: 'value', value: canary } as const };
    await channel.of(CacheServiceService).fill(fill);
    const read = await channel.of(CacheServiceService).getOrLease({ key: 'leased', leaseMs: 1_000n });
    expect(read.status).toBe(GetOrLeaseStatus.HIT);
    const limits = channel.of(RateLimitServiceService);
    expect((await limits.peekRateLimit({ limits: [AUTH] })).allowed).toBe(false);
    expect((await limits.refundRateLimit({ reservationId: stolen.reservationId })).refunded).toBe(true);
    const locks = channel.of(LockServiceService);
    const { notHeldResources } = await locks.releaseLock({ resources: [stolen.resource], lockToken: stolen.lockToken });
    expect(notHeldResources).toEqual([]);
  });

  test('makes no difference to the second: a third is answered the same when it is gone', async () => {
    for await (const keys of keysOf(FIRST)) if (keys.length > 0) await database.command(['DEL', ...keys]);
    expect(await dataOfFirst()).toBe('');
    const third = channelOf(THIRD);
    // who presented the second's tokens, and how many, is not told either
    const { foreignTokenCount, createdCount } = await third.of(SessionServiceService).getSessionStats({});
    expect({ foreignTokenCount, createdCount }).toEqual({ foreignTokenCount: 0n, createdCount: 0n });
    const alone = await askAll(third, requests);
    expect(alone.map(shapeOfAnswer)).toEqual(seen.map(shapeOfAnswer));
  });
});

function shapeOfAnswer({ rpc, answers }: { readonly rpc: ProtoRpc; readonly answers: readonly Answer[] }): unknown {
  const service = [CacheServiceService, SessionServiceService, LockServiceService, RateLimitServiceService]
    .flatMap((methods) => Object.values<Decoding>(methods))
    .find(({ path }) => path === `/${rpc.name}`);
  // what the whole Redis and the whole process have is no tenant's
  const isOfProcess = rpc.name.endsWith('/GetCacheStats');
  return [
    rpc.name,
    answers.map(({ bytes, code }) => [code, isOfProcess ? '' : shapeOf(service?.responseDeserialize(bytes))]),
  ];
}

interface Decoding {
  readonly path: string;
  readonly responseDeserialize: (bytes: Buffer) => unknown;
}

async function* keysOf(namespace: string): AsyncGenerator<string[], void> {
  let cursor = '0';
  do {
    const reply = await database.command(['SCAN', cursor, 'MATCH', `${namespace}:*`, 'COUNT', '1000']);
    const [next, keys] = reply as [Buffer, Buffer[]];
    cursor = String(next);
    yield keys.map(String);
  } while (cursor !== '0');
}

describe('streams', () => {
  test('tell the second nothing of what the first does, and it hears of its own', async () => {
    const first = channelOf(FIRST);
    const second = channelOf(SECOND);
    const watchesOf = (channel: TestChannel) => {
      const cache = openStream(channel, CacheServiceService.watch);
      cache.send({ addKeys: ['watched'], addPrefixes: ['pre:'], addTags: ['t'] });
      return {
        cache,
        sessions: openStream(channel, SessionServiceService.watchSessions, { all: true }),
        locks: openStream(channel, LockServiceService.watchLocks, { prefix: 'door' }),
      };
    };
    const watches = [watchesOf(first), watchesOf(second)];
    for (const { cache, sessions, locks } of watches) {
      await Promise.all([cache.untilMessages(1), sessions.untilMessages(1), locks.untilMessages(1)]);
    }
    const [ofFirst, ofSecond] = watches;
    if (ofFirst === undefined || ofSecond === undefined) throw new Error('no watches');
    const greeting = [ofSecond.cache, ofSecond.sessions, ofSecond.locks].map(({ messages }) => messages.length);
    const change = async (channel: TestChannel, userId: string): Promise<void> => {
      const cache = channel.of(CacheServiceService);
      await cache.set({ key: 'watched', value: canary });
      await cache.set({ key: 'pre:1', value: canary });
      await cache.invalidateTags({ tags: ['t'] });
      await channel.of(SessionServiceService).createSession({ userId });
      await channel.of(LockServiceService).acquireLock({ resources: [`door-${userId}`], ttlMs: 600_000n });
    };
    await change(first, 'first');
    await ofFirst.cache.untilMessages(2);
    await ofFirst.sessions.untilMessages(2);
    await ofFirst.locks.untilMessages(2);
    const now = [ofSecond.cache, ofSecond.sessions, ofSecond.locks].map(({ messages }) => messages.length);
    expect(now).toEqual(greeting);
    await change(second, 'second');
    await ofSecond.cache.untilMessages((greeting[0] ?? 0) + 1);
    await ofSecond.sessions.untilMessages((greeting[1] ?? 0) + 1);
    await ofSecond.locks.untilMessages((greeting[2] ?? 0) + 1);
    const users = ofSecond.sessions.messages.flatMap(({ events }) => events.map(({ userId }) => userId));
    expect(new Set(users)).toEqual(new Set(['second']));
    const doors = ofSecond.locks.messages.flatMap(({ locks }) => locks.map(({ resource }) => resource));
    expect(new Set(doors)).toEqual(new Set(['door-second']));
    for (const { cache, sessions, locks } of watches) for (const stream of [cache, sessions, locks]) stream.cancel();
  });

  test('of holds and slots take nothing of the first, with the same names and tokens', async () => {
    const first = new Hold(channelOf(FIRST));
    const { lockToken } = await first.take('held');
    const second = new Hold(channelOf(SECOND));
    await second.release(['held'], lockToken);
    await second.take('held');
    const { holders } = await channelOf(FIRST).of(LockServiceService).getLock({ resource: 'held' });
    expect(holders).toHaveLength(1);
    const slots = (channel: TestChannel) =>
      openStream(channel, RateLimitServiceService.holdConcurrency, {
        limits: [
          {
            ...{ subject: 'user:slots', cost: undefined, role: undefined, subjects: undefined },
            policy: {
              $case: 'inlinePolicy',
              value: { name: 'slots', algorithm: Algorithm.CONCURRENCY, limit: 1, windowMs: 60_000n, burst: undefined },
            },
          },
        ],
      });
    const open = [slots(channelOf(FIRST)), slots(channelOf(SECOND))];
    for (const stream of open) {
      await stream.untilMessages(1);
      expect(stream.messages[0]?.decision?.allowed).toBe(true);
      stream.cancel();
    }
    first.stream.cancel();
    second.stream.cancel();
  });
});
