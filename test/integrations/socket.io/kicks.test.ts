import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Sessions } from '../../../src/client/index.js';
import type { SessionEndNotice, UserStatus } from '../../../src/integrations/socket.io/index.js';
import { until } from '../../support/redis-server.js';
import { onEachTopology, sharedRedisUrl, startTestService, type TestService } from '../../support/service.js';
import { client, login, POLICIES_FILE } from '../../client/sessions/support.js';
import { join, NOBODY, startGame, untilKicked, type Game, type GameOptions, type GameSocket } from './support.js';

onEachTopology(
  'a socket',
  (service, topology) => {
    let other: TestService;
    beforeAll(async () => {
      const NAMESPACE = service().namespace;
      other = await startTestService({ REDIS_URL: sharedRedisUrl(topology), NAMESPACE, POLICIES_FILE });
    });
    afterAll(async () => {
      await other.stop();
    });
    /** The game goes through one process, and what happens to sessions through another. */
    const game = (options: GameOptions = {}): Promise<Game> => startGame(client(service().address), options);
    const elsewhere = (): Sessions => client(other.address).sessions;

    test('is told and disconnected when its user is logged out elsewhere; others are not', async () => {
      const ended: unknown[] = [];
      const onEnded = (socket: GameSocket, end: SessionEndNotice): void => {
        ended.push([socket.data.session.sessionId, socket.connected, end]);
      };
      const playing = await game({ onEnded });
      const there = elsewhere();
      const [first, kept, stranger] = [await login(there), await login(there), await login(there)];
      const second = await login(there, { userId: first.session.userId });
      const kicked = await Promise.all([first, first, second].map(({ sessionToken }) => join(playing, sessionToken)));
      const staying = await Promise.all([kept, stranger].map(({ sessionToken }) => join(playing, sessionToken)));
      const end = { reason: 'logout everywhere', message: 'See you' };
      await there.destroyUserSessions(first.session.userId, end);
      const notice = { cause: 'destroyed', ...end };
      for (const player of kicked) {
        expect(await untilKicked(player)).toEqual(notice);
        expect(player.told).toEqual([['session:ended', notice]]);
      }
      expect(ended).toHaveLength(3);
      expect(ended).toContainEqual([second.session.sessionId, true, notice]);
      for (const player of staying) {
        await player.act();
        expect(player.told).toEqual([]);
      }
      expect(playing.installed.counts).toEqual({ handshakes: 0, sockets: 2, sessions: 2, users: 2 });
    });

    test('is disconnected when its session makes room, or its token was stolen', async () => {
      const playing = await game();
      const there = elsewhere();
      const evicted = await login(there, { profile: 'evicting' });
      const stolen = await login(there, { profile: 'graceless' });
      const [one, two] = [await join(playing, evicted.sessionToken), await join(playing, stolen.sessionToken)];
      await login(there, { userId: evicted.session.userId, profile: 'evicting' });
      expect(await untilKicked(one)).toMatchObject({ cause: 'evicted' });
      await there.rotateSession(stolen.sessionToken);
      // by whoever has it still
      await there.validateSession(stolen.sessionToken);
      expect(await untilKicked(two)).toMatchObject({ cause: 'theft' });
      expect(playing.installed.counts).toEqual(NOBODY);
    });

    test('is warned of an announced end, also when it connects later, and of a lost character', async () => {
      const playing = await game();
      const there = elsewhere();
      const { session, sessionToken } = await login(there);
      const { sessionId, userId } = session;
      const player = await join(playing, sessionToken);
      const words = { reason: 'maintenance', message: 'Back at six' };
      await there.destroySession(sessionId, { ...words, effectiveInMs: 3_600_000 });
      const warning = { ...words, effectiveAtMs: expect.any(Number) };
      expect(await player.untilTold('session:warned')).toEqual(warning);
      const late = await join(playing, sessionToken);
      expect(await late.untilTold('session:warned')).toEqual(await player.untilTold('session:warned'));

      const rival = await login(there, { userId });
      const character = { userId, characterId: 'hero' };
      await there.claimCharacter({ ...character, sessionId });
      await there.claimCharacter({ ...character, sessionId: rival.session.sessionId, policy: 'takeover' });
      const taken = { characterId: 'hero', effectiveAtMs: undefined };
      expect(await player.untilTold('session:character_taken')).toEqual(taken);
      await player.act();
      expect(player.socket.connected).toBe(true);
    });

    test('has its session as it is now', async () => {
      const playing = await game();
      const there = elsewhere();
      const { session, sessionToken } = await login(there);
      await join(playing, sessionToken);
      await join(playing, sessionToken);
      const known = () => [...playing.io.of('/').sockets.values()].map(({ data }) => data.session);
      for (const username of ['Ada', 'Grace']) {
        const updated = await there.updateSession(session.sessionId, { username });
        await until(() => known().every((each) => each.version === updated.version));
        expect(known()).toEqual([updated, updated]);
      }
      await there.destroySession(session.sessionId, { effectiveInMs: 3_600_000 });
      await until(() => known().every((each) => each.announcedEnd !== undefined));
    });

    test('makes its user online while there is one', async () => {
      const told: UserStatus[] = [];
      const playing = await game({
        onStatus: (status) => {
          told.push(status);
          throw new Error('is logged');
        },
      });
      const there = elsewhere();
      const { session, sessionToken } = await login(there);
      const { userId } = session;
      const second = await login(there, { userId });
      const [one, two] = [await join(playing, sessionToken), await join(playing, second.sessionToken)];
      expect(playing.installed.isOnline(userId)).toBe(true);
      one.socket.disconnect();
      await until(() => playing.installed.counts.sockets === 1);
      expect(told).toEqual([{ userId, status: 'online' }]);
      await there.destroyUserSessions(userId);
      await untilKicked(two);
      expect(told).toEqual([
        { userId, status: 'online' },
        { userId, status: 'offline' },
      ]);
      expect(playing.installed.isOnline(userId)).toBe(false);
    });
  },
  { POLICIES_FILE },
);
