import { createHash } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { Cookie, MemoryStore, type SessionData, type Store } from 'express-session';
import {
  connect,
  UnavailableError,
  type Sessions,
  type ShardkeepClient,
  type UserSessions,
} from '../../../src/client/index.js';
import { MAX_SESSION_BYTES, ShardkeepStore } from '../../../src/integrations/express-session/index.js';
import { until } from '../../support/redis-server.js';
import {
  onEachTopology,
  randomNamespace,
  sharedRedisUrl,
  startTestService,
  type TestService,
} from '../../support/service.js';
import { stored, type StoredSession } from './stored.js';

/**
 * What express-session's README asks of a store, as nobody publishes a suite for stores. The first part runs on its own
 * MemoryStore too, so that it asks no more than that.
 */

/** Data of an app's own, with a cookie of so many milliseconds, or without expiry. */
function sessionOf(data: object, maxAge?: number): SessionData {
  const cookie = new Cookie();
  if (maxAge !== undefined) cookie.maxAge = maxAge;
  return { cookie, ...data };
}

/** As it comes back: what was set, through JSON. */
function asRead(session: SessionData): unknown {
  return JSON.parse(JSON.stringify(session));
}

interface Gate {
  readonly opened: Promise<void>;
  readonly open: () => void;
}

function gate(): Gate {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

const HOUR_MS = 3_600_000;

function contract(open: () => Store): void {
  let session: StoredSession;
  const sid = (): string => randomNamespace();

  test('what was never set is not there', async () => {
    session = stored(open(), sid());
    expect((await session.get()) ?? null).toBeNull();
    await session.destroy();
    await session.touch(sessionOf({}, HOUR_MS));
    expect((await session.get()) ?? null).toBeNull();
  });

  test('what was set comes back, and what is set later takes its place', async () => {
    session = stored(open(), sid());
    const first = sessionOf({ views: 1, user: { name: 'Ada', roles: ['a', 'b'] }, gone: 'x'.repeat(3_000) }, HOUR_MS);
    await session.set(first);
    expect(asRead((await session.get()) ?? sessionOf({}))).toEqual(asRead(first));
    const second = sessionOf({ views: 2 });
    await session.set(second);
    expect(asRead((await session.get()) ?? sessionOf({}))).toEqual(asRead(second));
  });

  test('sids are apart, whatever they are made of', async () => {
    const store = open();
    const base = sid();
    const sids = ['', ' ', ':', '%', '{}', '\u0000', 'é', '😀', 'x'.repeat(1_000)].map((end) => base + end);
    await Promise.all(sids.map((each, index) => stored(store, each).set(sessionOf({ index }))));
    const read = await Promise.all(sids.map((each) => stored(store, each).get()));
    expect(read.map((each) => (each as unknown as { index: number }).index)).toEqual(sids.map((_, index) => index));
  });

  test('what was destroyed is not there, and may be set anew', async () => {
    session = stored(open(), sid());
    await session.set(sessionOf({ views: 1 }));
    await session.destroy();
    expect((await session.get()) ?? null).toBeNull();
    await session.destroy();
    await session.set(sessionOf({ views: 2 }));
    expect(await session.get()).toMatchObject({ views: 2 });
  });

  test('runs out with its cookie', async () => {
    session = stored(open(), sid());
    await session.set(sessionOf({}, 1));
    await until(async () => ((await session.get()) ?? null) === null);
    await session.set(sessionOf({}, -1));
    expect((await session.get()) ?? null).toBeNull();
  });

  test('a cookie that becomes shorter ends it sooner, also by a touch', async () => {
    for (const shorten of ['set', 'touch'] as const) {
      session = stored(open(), sid());
      await session.set(sessionOf({}, 24 * HOUR_MS));
      expect(await session.get()).toBeDefined();
      await session[shorten](sessionOf({}, 1));
      await until(async () => ((await session.get()) ?? null) === null);
    }
  });

  test('a touch changes the cookie and nothing else', async () => {
    session = stored(open(), sid());
    await session.set(sessionOf({ views: 1 }, HOUR_MS));
    const touched = sessionOf({ views: 'not saved' }, 24 * HOUR_MS);
    await session.touch(touched);
    const read = (await session.get()) ?? sessionOf({});
    expect(read).toMatchObject({ views: 1 });
    expect(asRead(read)).toMatchObject({ cookie: asRead(touched.cookie as unknown as SessionData) });
  });

  test('of sessions that are set at once one is there, whole', async () => {
    session = stored(open(), sid());
    for (const round of [1, 2]) {
      const writes = Array.from({ length: 10 }, (_, index) => ({ round, from: index, text: 'x'.repeat(index * 150) }));
      await Promise.all(writes.map((data) => session.set(sessionOf(data))));
      expect(writes).toContainEqual({ ...(await session.get()), cookie: undefined });
    }
  });

  test('is counted and cleared', async () => {
    const store = open();
    await stored(store, sid()).clear();
    const sids = Array.from({ length: 20 }, sid);
    await Promise.all(sids.map((each) => stored(store, each).set(sessionOf({}))));
    expect(await stored(store, '').length()).toBe(20);
    await stored(store, sids[0] ?? '').destroy();
    expect(await stored(store, '').length()).toBe(19);
    await stored(store, '').clear();
    expect(await stored(store, '').length()).toBe(0);
    expect((await stored(store, sids[1] ?? '').get()) ?? null).toBeNull();
  });
}

describe('the contract on MemoryStore', () => {
  const store = new MemoryStore();
  contract(() => store);
});

onEachTopology('ShardkeepStore', (service) => {
  let shardkeep: ShardkeepClient;
  beforeAll(() => {
    shardkeep = connect(service().address, { timeoutMs: 30_000 });
  });
  afterAll(async () => {
    await shardkeep.close();
  });
  const sessions = (): Sessions => shardkeep.sessions;
  const open = (options: { prefix?: string; ttlMs?: number } = {}): ShardkeepStore =>
    new ShardkeepStore({ sessions: sessions(), ...options });

  describe('the contract', () => {
    contract(() => new ShardkeepStore({ sessions: sessions(), ownsNamespace: true }));
  });

  test('keeps any text, up to its size, and tells what is too large', async () => {
    const session = stored(open(), randomNamespace());
    for (const text of ['', '\u0000\ufffd\ud800"\\', 'é'.repeat(5_000), `x${'😀'.repeat(3_000)}`]) {
      await session.set(sessionOf({ text, '\ufffd': 1 }));
      expect(await session.get()).toMatchObject({ text, '\ufffd': 1 });
    }
    const room = MAX_SESSION_BYTES - '{"t":""}'.length;
    // characters that end where no piece can
    for (const t of ['x'.repeat(room), `${'x'.repeat(room % 4)}${'😀'.repeat(Math.floor(room / 4))}`]) {
      await session.set(sessionOf({ t }));
      expect(await session.get()).toMatchObject({ t });
      await expect(session.set(sessionOf({ t: `${t}x` }))).rejects.toThrow(RangeError);
      expect(await session.get()).toMatchObject({ t });
    }
  });

  test('is one session of the service however it is set, under no name that opens it', async () => {
    const sid = randomNamespace();
    const session = stored(open({ prefix: 'shop:' }), sid);
    await Promise.all([1, 2, 3].map((n) => session.set(sessionOf({ n }))));
    await session.set(sessionOf({ n: 4 }));
    const userId = `shop:${createHash('sha256').update(sid).digest('base64url')}`;
    const { sessions: kept } = await sessions().listUserSessions(userId);
    expect(kept).toHaveLength(1);
    expect(JSON.stringify(kept)).not.toContain(sid);
    expect(await stored(open(), sid).get()).toBeNull();
  });

  test('a first set that finds another there, which was not when it looked, takes its place', async () => {
    const sid = randomNamespace();
    const [looked, released] = [gate(), gate()];
    const listUserSessions = async (userId: string): Promise<UserSessions> => {
      const found = await sessions().listUserSessions(userId);
      looked.open();
      await released.opened;
      return found;
    };
    const slowly = new Proxy(sessions(), {
      get: (target, name) => (name === 'listUserSessions' ? listUserSessions : (Reflect.get(target, name) as unknown)),
    });
    const slow = stored(new ShardkeepStore({ sessions: slowly }), sid).set(sessionOf({ from: 'slow' }));
    await looked.opened;
    await stored(open(), sid).set(sessionOf({ from: 'quick' }));
    released.open();
    await slow;
    expect(await stored(open(), sid).get()).toMatchObject({ from: 'slow' });
  });

  test('lives as long as its cookie, or as the store says where the cookie does not', async () => {
    const sid = randomNamespace();
    const session = stored(open({ ttlMs: 2 * HOUR_MS }), sid);
    const userId = `express:${createHash('sha256').update(sid).digest('base64url')}`;
    const lifeMs = async (): Promise<number> => {
      const [kept] = (await sessions().listUserSessions(userId)).sessions;
      return kept === undefined ? 0 : kept.expiresAtMs - kept.lastActiveMs;
    };
    await session.set(sessionOf({}));
    expect(await lifeMs()).toBeGreaterThanOrEqual(2 * HOUR_MS);
    expect(await lifeMs()).toBeLessThan(2.2 * HOUR_MS);
    // longer than what the session was created with
    await session.touch(sessionOf({}, 5 * HOUR_MS));
    expect(await lifeMs()).toBeGreaterThanOrEqual(5 * HOUR_MS);
    expect(await lifeMs()).toBeLessThan(5.5 * HOUR_MS);
  });

  test('a session that was read and then destroyed by another request is not brought back', async () => {
    const sid = randomNamespace();
    const store = open();
    const session = stored(store, sid);
    await session.set(sessionOf({ views: 1 }, HOUR_MS));
    const read = await session.get();
    if (!read) throw new Error('not there');
    await stored(open(), sid).destroy();
    await session.set(read);
    await session.touch(read);
    expect(await session.get()).toBeNull();

    // nor one that was created by the request itself
    const created = sessionOf({ views: 1 }, HOUR_MS);
    await session.set(created);
    await session.destroy();
    await session.set(created);
    expect(await session.get()).toBeNull();
  });

  test('touches are not written more often than needed', async () => {
    const sid = randomNamespace();
    const session = stored(open(), sid);
    await session.set(sessionOf({}, HOUR_MS));
    const watch = sessions().watchSessions({ all: true });
    await watch.ready;
    for (let count = 0; count < 5; count++) await session.touch((await session.get()) ?? sessionOf({}));
    const last = await sessions().createSession({
      userId: `express:${createHash('sha256').update(sid).digest('base64url')}`,
    });
    for await (const event of watch) {
      expect(event.type).toBe('created');
      if (last.status === 'created' && event.type === 'created' && event.sessionId === last.session.sessionId) break;
    }
  });

  test('has no count where the namespace is not its own', () => {
    expect([open().length, open().clear]).toEqual([undefined, undefined]);
  });
});

describe('without a service', () => {
  let service: TestService;
  let shardkeep: ShardkeepClient;
  beforeAll(async () => {
    service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
    shardkeep = connect(service.address, { timeoutMs: 1_000, logger: false, retry: { maxAttempts: 1 } });
    await shardkeep.health.check();
    await service.stop();
  });
  afterEach(async () => {
    await shardkeep.close();
  });

  test('every call fails, and no session is taken for gone', async () => {
    const session = stored(new ShardkeepStore({ sessions: shardkeep.sessions, ownsNamespace: true }), 'sid');
    const calls = [
      session.get(),
      session.set(sessionOf({})),
      session.touch(sessionOf({})),
      session.destroy(),
      session.length(),
      session.clear(),
    ];
    for (const call of calls) await expect(call).rejects.toThrow(UnavailableError);
  });
});
