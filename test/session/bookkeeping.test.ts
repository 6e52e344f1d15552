import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { createClient, RESP_TYPES } from 'redis';
import {
  sharedRedisUrl,
  startTestService,
  policiesFile,
  randomNamespace,
  type TestService,
} from '../support/service.js';
import { asOurselves } from '../support/redis-user.js';

/** Records, indexes, counters and events agree, however sessions came and went. Looked at in Redis itself. */

const profile = { idle_ttl_ms: 600_000, absolute_ttl_ms: 0, touch_granularity_ms: 0 };
const POLICIES_FILE = policiesFile({
  rpc_limits: [],
  session_profiles: { capped: { ...profile, max_sessions: 3, at_limit: 'evict_oldest' } },
});

const redis = createClient({
  url: asOurselves(sharedRedisUrl('standalone')),
  commandOptions: { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer } },
});
let service: TestService;

beforeAll(async () => {
  await redis.connect();
  service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone'), POLICIES_FILE });
});
afterAll(async () => {
  await service.stop();
  redis.destroy();
});

async function keysOf(pattern: string): Promise<string[]> {
  return (await redis.keys(`${service.namespace}:${pattern}`)).map(String);
}

async function collect<Item>(pattern: string, read: (key: string) => Promise<readonly Item[]>): Promise<Item[]> {
  return (await Promise.all((await keysOf(pattern)).map(read))).flat();
}

function lastPart(key: string): string {
  return key.slice(key.lastIndexOf(':') + 1);
}

test('after a storm of logins, evictions and logouts every book tells the same', async () => {
  const users = Array.from({ length: 12 }, () => randomNamespace());
  const { sessions } = service;
  await Promise.all(
    users.flatMap((userId, index) =>
      Array.from({ length: 8 }, async (_, round) => {
        const { session, sessionToken } = await sessions.createSession({ userId, profile: 'capped' });
        if (round % 3 === 0) await sessions.destroySession({ sessionId: session?.sessionId ?? '' });
        await sessions.validateSession({ sessionToken });
        if (index % 4 === 0 && round === 5) await sessions.destroyUserSessions({ userId });
      }),
    ),
  );

  const FORMAT_SESSION = 1;
  const records = await collect('session:*', async (key) => {
    const packed = await redis.get(key);
    return Buffer.isBuffer(packed) && packed[0] === FORMAT_SESSION ? [lastPart(key)] : [];
  });
  const inUserIndex = await collect('user:*', async (key) => (await redis.zRange(key, 0, -1)).map(String));
  const inDeadlines = await collect('sessions:*:deadlines', async (key) =>
    (await redis.zRange(key, 0, -1)).map((member) => String(member).split(':')[0] ?? ''),
  );
  const active = await collect('sessions:*:counters', async (key) => [Number(String(await redis.hGet(key, 'active')))]);
  const events = await collect('sessions:*:events', async (key) =>
    ((await redis.xRange(key, '-', '+')) ?? []).map(({ message }) => ({
      type: String(message.type),
      session: String(message.session),
    })),
  );

  const live = records.toSorted();
  expect(live.length).toBeGreaterThan(0);
  expect(inUserIndex.toSorted()).toEqual(live);
  expect(inDeadlines.toSorted()).toEqual(live);
  expect(active.reduce((sum, count) => sum + count, 0)).toBe(live.length);
  const created = events.filter(({ type }) => type === 'created').map(({ session }) => session);
  const ended = events.filter(({ type }) => type !== 'created').map(({ session }) => session);
  expect(new Set(ended).size).toBe(ended.length);
  expect(created.filter((id) => !ended.includes(id)).toSorted()).toEqual(live);
});

test('every key that must go by itself has an expiry, and Redis never holds a secret', async () => {
  const { sessionToken } = await service.sessions.createSession({ userId: randomNamespace() });
  const expiring = [
    ...(await keysOf('session:*')),
    ...(await keysOf('sessions:*:events')),
    ...(await keysOf('revocation:*')),
  ];
  const ttls = await Promise.all(expiring.map((key) => redis.pTTL(key)));
  expect(ttls.every((ttlMs) => ttlMs > 0)).toBe(true);
  const secret = Buffer.from(sessionToken.split('.')[1] ?? '', 'base64url');
  const values = await Promise.all((await keysOf('session:*')).map((key) => redis.get(key)));
  expect(values.some((value) => Buffer.isBuffer(value) && value.includes(secret))).toBe(false);
});

test('an update to the same values leaves the record as long as it was', async () => {
  const { sessions, namespace } = service;
  const { session } = await sessions.createSession({ userId: randomNamespace(), username: 'ada' });
  if (session === undefined) throw new Error('not created');
  const { sessionId } = session;
  const [key] = (await redis.keys(`${namespace}:session:*${sessionId}`)).map(String);
  if (key === undefined) throw new Error('no record');
  const before = await redis.strLen(key);
  await sessions.updateSession({ sessionId, noTouch: true });
  expect(await redis.strLen(key)).toBe(before);
});
