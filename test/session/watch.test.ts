import { status as Code } from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import {
  SessionEndCause,
  SessionEventType,
  type WatchSessionsRequest,
} from '../../src/gen/shardkeep/session/v1/session.js';
import { keys, partitionOfUser } from '../../src/redis/keys.js';
import { decodeCursor, encodeCursor } from '../../src/session/watch/cursor.js';
import { Selection } from '../../src/session/watch/selection.js';
import { rawRedis, type RawRedis } from '../support/raw-redis.js';
import { until } from '../support/redis-server.js';
import {
  onEachTopology,
  policiesFile,
  randomNamespace,
  sharedRedisUrl,
  startTestService,
  type TestService,
} from '../support/service.js';
import { brief, login, SessionWatching } from './watch-support.js';

const profile = { idle_ttl_ms: 600_000, absolute_ttl_ms: 0, touch_granularity_ms: 0, at_limit: 'evict_oldest' };
const POLICIES_FILE = policiesFile({
  rpc_limits: [],
  session_profiles: {
    default: { ...profile, max_sessions: 100 },
    single: { ...profile, max_sessions: 1 },
    brief: { ...profile, max_sessions: 1, idle_ttl_ms: 1 },
  },
});

onEachTopology(
  'WatchSessions',
  (service, topology) => {
    let raw: RawRedis;
    let other: TestService;
    const open: SessionWatching[] = [];
    beforeAll(async () => {
      raw = await rawRedis(topology);
      const NAMESPACE = service().namespace;
      other = await startTestService({ REDIS_URL: sharedRedisUrl(topology), NAMESPACE, POLICIES_FILE });
    });
    afterAll(async () => {
      await other.stop();
      await raw.close();
    });
    afterEach(async () => {
      for (const { stream } of open) stream.cancel();
      await Promise.all(open.splice(0).map(({ stream }) => stream.code()));
    });

    function watching(request: Partial<WatchSessionsRequest>, at = service()): Promise<SessionWatching> {
      const watching = new SessionWatching(at.channel, request);
      open.push(watching);
      return watching.begun();
    }
    const eventsKey = (userId: string): string => keys.sessions(service().namespace, partitionOfUser(userId)).events;
    /** Another user of the same partition. */
    function neighbourOf(userId: string): string {
      for (;;) {
        const neighbour = randomNamespace();
        if (partitionOfUser(neighbour) === partitionOfUser(userId)) return neighbour;
      }
    }

    /** Long ones, of these sessions, poked for now and then. */
    async function writeEvents(userId: string, sessionIds: readonly string[]): Promise<void> {
      const key = eventsKey(userId);
      const fields = ['type', 'warned', 'user', userId, 'message', 'm'.repeat(250), 'session'];
      for (let written = 0; written < sessionIds.length; written += 300) {
        const some = sessionIds.slice(written, written + 300);
        await Promise.all(some.map((sessionId) => raw.command('XADD', key, '*', ...fields, sessionId)));
        await raw.command('SPUBLISH', key, '');
      }
    }

    test('of a user: what becomes of their sessions, in order, and of nobody else’s', async () => {
      const userId = `%{${randomNamespace()}}`;
      const neighbour = neighbourOf(userId);
      const watch = await watching({ userIds: [userId, userId] });
      const { sessions } = other;
      const first = await login(sessions, userId, 'single');
      await login(sessions, neighbour);
      const second = await login(sessions, userId, 'single');
      await sessions.destroySession({ sessionId: second, reason: 'kick', message: 'Bye, {you}' });
      const brief1 = await login(sessions, userId, 'brief');
      const third = await login(sessions, userId, 'single');
      await sessions.destroyUserSessions({ userId });
      const events = await watch.untilEvents(8);
      expect(brief(events)).toEqual([
        `created ${first}`,
        `evicted ${first}`,
        `created ${second}`,
        `destroyed ${second}`,
        `created ${brief1}`,
        `expired ${brief1}`,
        `created ${third}`,
        `destroyed ${third}`,
      ]);
      expect(events.every((event) => event.userId === userId)).toBe(true);
      expect(events.map(({ cause }) => cause).filter((cause) => cause !== SessionEndCause.UNSPECIFIED)).toEqual([
        SessionEndCause.EVICTED,
        SessionEndCause.DESTROYED,
        SessionEndCause.EXPIRED_IDLE,
        SessionEndCause.DESTROYED,
      ]);
      expect(events[3]).toMatchObject({ reason: 'kick', message: 'Bye, {you}', effectiveAtMs: 0n, characterId: '' });
      const times = events.map(({ atMs }) => Number(atMs));
      expect(times).toEqual(times.toSorted((a, b) => a - b));
      expect(Math.abs((times[0] ?? 0) - Date.now())).toBeLessThan(600_000);
      expect(new Set(events.map(({ eventId }) => eventId)).size).toBe(8);
      expect(watch.stream.messages.every(({ cursor }) => cursor.length > 0 && cursor.length < 64)).toBe(true);
      expect(watch.resyncs).toBe(0);
    });

    test('of sessions, of all, and of several things at once: the same event has the same id for everybody', async () => {
      const [ada, bob, eve] = [randomNamespace(), randomNamespace(), randomNamespace()];
      const { sessions } = other;
      const [ofAda, ofBob, ofEve] = await Promise.all([ada, bob, eve].map((userId) => login(sessions, userId)));
      if (ofAda === undefined || ofBob === undefined || ofEve === undefined) throw new Error('not created');
      const byId = await watching({ sessionIds: [ofAda] });
      const both = await watching({ sessionIds: [ofAda], userIds: [bob] }, other);
      const all = await watching({ all: true, userIds: [bob] });
      for (const userId of [eve, bob, ada]) await sessions.destroyUserSessions({ userId });
      await login(sessions, ada);
      expect(brief(await byId.untilEvents(1))).toEqual([`destroyed ${ofAda}`]);
      expect(brief(await both.untilEvents(2)).toSorted()).toEqual(
        [`destroyed ${ofAda}`, `destroyed ${ofBob}`].toSorted(),
      );
      const ids = (await all.untilEvents(4)).map(({ eventId }) => eventId);
      expect(new Set(ids).size).toBe(4);
      expect(ids).toEqual(expect.arrayContaining([...byId.events, ...both.events].map(({ eventId }) => eventId)));
      expect(all.cursor.length).toBeGreaterThan(1_000);
      expect(all.cursor.length).toBeLessThanOrEqual(16_384);
    });

    test('who comes back, to whichever process, is told what is behind the message of the cursor', async () => {
      const userId = randomNamespace();
      const { sessions } = other;
      const watch = await watching({ userIds: [userId] });
      for (let round = 1; round <= 3; round++) {
        await login(sessions, userId);
        await watch.untilEvents(round);
      }
      const responses = [...watch.stream.messages];
      await sessions.destroyUserSessions({ userId });
      const everything = (await watch.untilEvents(6)).map(({ eventId }) => eventId);
      expect(new Set(everything).size).toBe(6);
      for (const [index, { cursor }] of responses.entries()) {
        const told = responses.slice(0, index + 1).flatMap(({ events }) => events).length;
        const back = await watching({ userIds: [userId], cursor }, index % 2 === 0 ? other : service());
        expect((await back.untilEvents(6 - told)).map(({ eventId }) => eventId)).toEqual(everything.slice(told));
        expect(back.resyncs).toBe(0);
      }
      const back = await watching({ userIds: [userId], cursor: watch.cursor }, other);
      const last = await login(sessions, userId);
      expect(brief(await back.untilEvents(1))).toEqual([`created ${last}`]);
    });

    test('a cursor names no more than was told, while more waits for a slow reader', async () => {
      const userId = randomNamespace();
      const watch = await watching({ userIds: [userId] });
      const witness = await watching({ userIds: [userId] });
      watch.stream.pause();
      const names = Array.from({ length: 1_500 }, (_, index) => String(index));
      await writeEvents(userId, names);
      await witness.untilEvents(names.length);
      watch.stream.resume();
      await watch.untilEvents(names.length);
      const told = (watching: SessionWatching): string[] => watching.events.map(({ sessionId }) => sessionId);
      expect(told(watch)).toEqual(names);
      let from = 0;
      for (const message of watch.stream.messages) {
        from += message.events.length;
        expect(message.events.length).toBeLessThanOrEqual(256);
        const back = await watching({ userIds: [userId], cursor: message.cursor }, other);
        await back.untilEvents(names.length - from);
        expect(told(back)).toEqual(names.slice(from));
        back.stream.cancel();
      }
    });

    test('of all: who comes back is told what happened in any partition', async () => {
      const { sessions } = other;
      const first = await watching({ all: true });
      const users = Array.from({ length: 40 }, () => randomNamespace());
      first.stream.cancel();
      const ids = await Promise.all(users.map((userId) => login(sessions, userId)));
      const back = await watching({ all: true, cursor: first.cursor }, other);
      const told = new Set(brief(await back.untilEvents(40)));
      expect(ids.every((id) => told.has(`created ${id}`))).toBe(true);
      await sessions.destroySession({ sessionId: ids[0] ?? '' });
      await until(() => brief(back.events).includes(`destroyed ${ids[0] ?? ''}`));
      expect([first.resyncs, back.resyncs]).toEqual([0, 0]);
    });

    test('a cursor of another choice, of a stream elsewhere, or that is none: read anew, and told from now on', async () => {
      const userId = randomNamespace();
      const { cursor } = await watching({ userIds: [userId] });
      const elsewhere = new Selection({ namespace: 'elsewhere', userIds: [userId], sessionIds: [], all: false });
      const place = { id: '0-0', seen: 0, asOfMs: Date.now(), createdCount: 0 };
      const flipped = Buffer.from(cursor);
      flipped[12] = (flipped[12] ?? 0) ^ 1;
      const wrong: Partial<WatchSessionsRequest>[] = [
        { userIds: [userId], cursor: Buffer.from('?') },
        { userIds: [userId], cursor: Buffer.alloc(64) },
        { userIds: [userId], cursor: cursor.subarray(1) },
        { userIds: [userId], cursor: flipped },
        { userIds: [userId], cursor: encodeCursor(elsewhere, [place]) },
        { userIds: [userId, 'another'], cursor },
        { all: true, cursor },
      ];
      for (const request of wrong) {
        const watch = await watching(request);
        expect(watch.stream.messages[0]).toMatchObject({ resync: true, events: [] });
        const sessionId = await login(other.sessions, userId);
        expect(brief(await watch.untilEvents(1))).toEqual([`created ${sessionId}`]);
        expect(watch.resyncs).toBe(1);
        watch.stream.cancel();
      }
    });

    test('a cursor older than what is kept must read anew; a younger one is good', async () => {
      const userId = randomNamespace();
      await login(other.sessions, userId);
      const choice = { namespace: service().namespace, userIds: [userId], sessionIds: [], all: false };
      const selection = new Selection(choice);
      const { cursor } = await watching({ userIds: [userId] });
      const [place] = decodeCursor(selection, cursor) ?? [];
      if (place === undefined) throw new Error('no cursor');
      for (const [ageMs, resyncs] of [
        [570_000, 0],
        [601_000, 1],
        [-601_000, 1],
      ] as const) {
        const aged = encodeCursor(selection, [{ ...place, asOfMs: place.asOfMs - ageMs }]);
        const watch = await watching({ userIds: [userId], cursor: aged });
        expect([ageMs, watch.resyncs]).toEqual([ageMs, resyncs]);
        const sessionId = await login(other.sessions, userId);
        await until(() => brief(watch.events).includes(`created ${sessionId}`));
      }
    });

    test('events behind a cursor that were trimmed: read anew', async () => {
      const userId = randomNamespace();
      const watch = await watching({ userIds: [userId] });
      const { cursor } = watch;
      for (let count = 0; count < 3; count++) await login(other.sessions, userId);
      await watch.untilEvents(3);
      await raw.command('XTRIM', eventsKey(userId), 'MAXLEN', '1');
      const back = await watching({ userIds: [userId], cursor });
      expect(back.stream.messages[0]).toMatchObject({ resync: true, events: [] });
      const sessionId = await login(other.sessions, userId);
      expect(brief(await back.untilEvents(1))).toEqual([`created ${sessionId}`]);
      // whoever was there all the time missed nothing
      await watch.untilEvents(4);
      expect(watch.resyncs).toBe(0);
    });

    test('events that are lost with their stream: read anew, who watches and who comes back', async () => {
      const userId = randomNamespace();
      const watch = await watching({ userIds: [userId] });
      await login(other.sessions, userId);
      await watch.untilEvents(1);
      const { cursor } = watch;
      await raw.command('DEL', eventsKey(userId));
      await login(other.sessions, userId);
      await watch.until(({ resync }) => resync);
      const back = await watching({ userIds: [userId], cursor });
      expect(back.stream.messages[0]).toMatchObject({ resync: true, events: [] });
      const sessionId = await login(other.sessions, userId);
      expect(brief(await back.untilEvents(1))).toEqual([`created ${sessionId}`]);
      await watch.until(({ events }) => brief(events).includes(`created ${sessionId}`));
    });

    test('a stream that Redis dropped when nothing had happened for 20 minutes is no loss', async () => {
      const userId = randomNamespace();
      const key = eventsKey(userId);
      const session = await login(other.sessions, neighbourOf(userId));
      await raw.command('DEL', key);
      const longAgo = `${String(Date.now() - 1_201_000)}-7`;
      await raw.command('XADD', key, longAgo, 'type', 'created', 'session', session, 'user', 'somebody');
      const watch = await watching({ userIds: [userId] });
      const { cursor } = watch;
      await raw.command('DEL', key);
      const sessionId = await login(other.sessions, userId);
      expect(brief(await watch.untilEvents(1))).toEqual([`created ${sessionId}`]);
      const back = await watching({ userIds: [userId], cursor });
      expect(brief(await back.untilEvents(1))).toEqual([`created ${sessionId}`]);
      expect([watch.resyncs, back.resyncs]).toEqual([0, 0]);
    });

    test('what a newer service tells is passed over where it is not known', async () => {
      const userId = randomNamespace();
      const watch = await watching({ userIds: [userId] });
      const key = eventsKey(userId);
      const add = (...event: string[]): Promise<unknown> => raw.command('XADD', key, '*', 'user', userId, ...event);
      await add('type', 'teleported', 'session', 'x');
      await add('type', 'warned', 'session', 'y', 'effective_at', '1700000000000', 'reason', 'maintenance');
      await add('type', 'character_taken', 'session', 'z', 'character', 'hero', 'mood', 'bad');
      await add('type', 'destroyed', 'session', 'z', 'cause', '99');
      await raw.command('SPUBLISH', key, '');
      const [warned, taken, destroyed] = await watch.untilEvents(3);
      expect(warned).toMatchObject({
        type: SessionEventType.WARNED,
        effectiveAtMs: 1_700_000_000_000n,
        reason: 'maintenance',
        cause: SessionEndCause.UNSPECIFIED,
      });
      expect(taken).toMatchObject({ type: SessionEventType.CHARACTER_TAKEN, characterId: 'hero' });
      expect(destroyed).toMatchObject({ type: SessionEventType.DESTROYED, cause: SessionEndCause.UNSPECIFIED });
    });

    test('who does not read is told to read anew, and costs little', async () => {
      const userId = randomNamespace();
      const watch = await watching({ userIds: [userId] });
      const witness = await watching({ userIds: [userId] });
      watch.stream.pause();
      const COUNT = 12_000;
      await writeEvents(userId, new Array<string>(COUNT).fill('s'));
      await witness.untilEvents(COUNT);
      expect(witness.resyncs).toBe(0);
      watch.stream.resume();
      await watch.until(({ resync }) => resync);
      const sessionId = await login(other.sessions, userId);
      await until(() => brief(watch.events).at(-1) === `created ${sessionId}`);
      expect(watch.events.length).toBeLessThan(COUNT);
      await raw.command('DEL', eventsKey(userId));
    });

    test('a namespace of its own, and the end with a service that goes away', async () => {
      const elsewhere = await startTestService({ REDIS_URL: sharedRedisUrl(topology) });
      const userId = randomNamespace();
      const watch = await watching({ all: true, userIds: [userId] }, elsewhere);
      await login(other.sessions, userId);
      const own = await login(elsewhere.sessions, userId);
      expect(brief(await watch.untilEvents(1))).toEqual([`created ${own}`]);
      await elsewhere.stop();
      expect(await watch.stream.code()).toBe(Code.UNAVAILABLE);
    });
  },
  { POLICIES_FILE },
);
