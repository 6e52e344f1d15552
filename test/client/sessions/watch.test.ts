import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { CancelledError, InvalidArgumentError, type Sessions } from '../../../src/client/index.js';
import { errorOf } from '../../support/client-error.js';
import {
  onEachTopology,
  randomNamespace,
  sharedRedisUrl,
  startTestService,
  type TestService,
} from '../../support/service.js';
import { client, login, POLICIES_FILE } from './support.js';
import { brief, WatchListener } from './watch-listener.js';

onEachTopology(
  'watchSessions',
  (service, topology) => {
    let other: TestService;
    beforeAll(async () => {
      const NAMESPACE = service().namespace;
      other = await startTestService({ REDIS_URL: sharedRedisUrl(topology), NAMESPACE, POLICIES_FILE });
    });
    afterAll(async () => {
      await other.stop();
    });
    /** Through one process is watched what happens through another. */
    const sessions = (): Sessions => client(service().address).sessions;
    const elsewhere = (): Sessions => client(other.address).sessions;

    test('tells what becomes of a user’s sessions through another process, in order', async () => {
      const userId = randomNamespace();
      const watch = sessions().watchSessions({ userIds: [userId] });
      await watch.ready;
      const listener = new WatchListener(watch);
      const there = elsewhere();
      const first = await login(there, { userId });
      const second = await login(there, { userId });
      const [one, two] = [first.session.sessionId, second.session.sessionId];
      const character = { userId, characterId: 'hero' };
      await there.claimCharacter({ ...character, sessionId: one });
      await there.claimCharacter({ ...character, sessionId: two, policy: 'takeover' });
      await there.rotateSession(first.sessionToken);
      await there.updateSession(one, { username: 'Ada' });
      // what is told of an update comes by a second command
      await listener.untilTold(`updated ${one}`);
      await there.destroySession(one, { reason: 'soon', effectiveInMs: 60_000 });
      await there.destroySession(one, { reason: 'kick', message: 'Bye' });
      const third = await login(there, { userId, profile: 'evicting' });
      expect(await listener.untilBrief(9)).toEqual([
        `created ${one}`,
        `created ${two}`,
        `character_taken ${one}`,
        `rotated ${one}`,
        `updated ${one}`,
        `warned ${one}`,
        `destroyed ${one}`,
        `evicted ${two}`,
        `created ${third.session.sessionId}`,
      ]);
      const [created, , taken, , , warned, destroyed, evicted] = listener.events;
      const told = { eventId: expect.any(String), userId, atMs: expect.any(Number) };
      expect(created).toEqual({ type: 'created', sessionId: one, ...told });
      const takenOf = { characterId: 'hero', effectiveAtMs: undefined };
      expect(taken).toEqual({ type: 'character_taken', sessionId: one, ...takenOf, ...told });
      const announced = { reason: 'soon', message: '', effectiveAtMs: expect.any(Number) };
      expect(warned).toEqual({ type: 'warned', sessionId: one, ...announced, ...told });
      const end = { cause: 'destroyed', reason: 'kick', message: 'Bye' };
      expect(destroyed).toEqual({ type: 'destroyed', sessionId: one, ...end, ...told });
      expect(evicted).toMatchObject({ type: 'evicted', cause: 'evicted' });
      expect(new Set(listener.events.map((event) => event.type !== 'resync' && event.eventId)).size).toBe(9);
    });

    test('goes on from a cursor in another process; what was not dealt with is told again', async () => {
      const userId = randomNamespace();
      const watch = sessions().watchSessions({ userIds: [userId] });
      expect(watch.cursor).toBeUndefined();
      await watch.ready;
      const there = elsewhere();
      const ids: string[] = [];
      const cursors: (string | undefined)[] = [];
      ids.push((await login(there, { userId })).session.sessionId);
      for await (const event of watch) {
        expect(brief(event)).toBe(`created ${ids.at(-1) ?? ''}`);
        cursors.push(watch.cursor);
        if (ids.length === 3) break;
        ids.push((await login(there, { userId })).session.sessionId);
      }
      const seen = cursors.map((cursor) => new WatchListener(there.watchSessions({ userIds: [userId], cursor })));
      await login(there, { userId });
      const told = ids.map((id) => `created ${id}`);
      for (const [index, listener] of seen.entries()) {
        // the event that was being dealt with when the cursor was taken is there
        expect((await listener.untilBrief(4 - index)).slice(0, -1)).toEqual(told.slice(index));
      }
    });

    test('of all sessions, of some, and of some that do not end: each is told of its choice', async () => {
      const there = elsewhere();
      const [mine, theirs] = [await login(there), await login(there)];
      const here = sessions();
      const one = here.watchSessions({ sessionIds: [mine.session.sessionId] });
      const all = here.watchSessions({ all: true });
      await Promise.all([one.ready, all.ready]);
      const [ofOne, ofAll] = [new WatchListener(one), new WatchListener(all)];
      await there.destroySession(theirs.session.sessionId);
      await there.destroySession(mine.session.sessionId);
      expect(await ofOne.untilBrief(1)).toEqual([`destroyed ${mine.session.sessionId}`]);
      await ofAll.untilTold(`destroyed ${theirs.session.sessionId}`);
      await ofAll.untilTold(`destroyed ${mine.session.sessionId}`);
    });

    test('tells to look anew where the cursor is no good, as an event or by a call', async () => {
      const userId = randomNamespace();
      const listener = new WatchListener(sessions().watchSessions({ userIds: [userId], cursor: 'no cursor' }));
      await listener.watch.ready;
      const { session } = await login(elsewhere(), { userId });
      expect(await listener.untilBrief(2)).toEqual(['resync', `created ${session.sessionId}`]);

      const order: string[] = [];
      const onResync = async (): Promise<void> => {
        await sessions().listUserSessions(userId);
        order.push('looked anew');
      };
      const watch = sessions().watchSessions({ userIds: [userId], cursor: 'none' }, { onResync });
      await watch.ready;
      await login(elsewhere(), { userId });
      for await (const event of watch) {
        order.push(event.type);
        break;
      }
      expect(order).toEqual(['looked anew', 'created']);
    });

    test('ends with what onResync throws, and the cursor stays before it', async () => {
      const onResync = (): void => {
        throw new Error('look failed');
      };
      const cursor = Buffer.from('none').toString('base64url');
      const { watch, ended } = new WatchListener(sessions().watchSessions({ all: true, cursor }, { onResync }));
      await expect(ended).rejects.toThrow('look failed');
      expect(watch.cursor).toBe(cursor);
    });

    test('ends by close, by its signal and with its client', async () => {
      const controller = new AbortController();
      const closing = client(service().address);
      const watches = [
        sessions().watchSessions({ all: true }),
        sessions().watchSessions({ all: true }, { signal: controller.signal }),
        closing.sessions.watchSessions({ all: true }),
      ];
      const listeners = watches.map((watch) => new WatchListener(watch));
      await Promise.all(watches.map(({ ready }) => ready));
      watches[0]?.close();
      controller.abort();
      await closing.close();
      for (const { ended } of listeners) await expect(ended).resolves.toBeUndefined();
    });

    test('that ends before it began is never ready', async () => {
      const aborted = sessions().watchSessions({ all: true }, { signal: AbortSignal.abort() });
      const closed = sessions().watchSessions({ all: true });
      closed.close();
      for (const watch of [aborted, closed]) {
        expect(await errorOf(watch.ready)).toBeInstanceOf(CancelledError);
        for await (const event of watch) expect(event).toBeUndefined();
      }
    });

    test('of nothing is refused', async () => {
      const { watch, ended } = new WatchListener(sessions().watchSessions({}));
      expect(await errorOf(watch.ready)).toBeInstanceOf(InvalidArgumentError);
      expect(await errorOf(ended)).toMatchObject({ fields: ['userIds'] });
    });
  },
  { POLICIES_FILE },
);

test('a watch whose loop is left holds no stream', async () => {
  const service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone'), MAX_STREAMS: '1', POLICIES_FILE });
  const { sessions } = client(service.address);
  for (let round = 0; round < 3; round++) {
    const watch = sessions.watchSessions({ all: true, cursor: 'none' });
    for await (const event of watch) {
      expect(event).toEqual({ type: 'resync' });
      break;
    }
  }
  await service.stop();
});
