import { expect, test } from '@jest/globals';
import type { Sessions } from '../../../src/client/index.js';
import { freePort, until } from '../../support/redis-server.js';
import { onEachTopology, randomNamespace } from '../../support/service.js';
import { client, login, POLICIES_FILE } from '../../client/sessions/support.js';
import { Gate, join, NOBODY, overriding, Player, startGame, type GameOptions, type GameSocket } from './support.js';

onEachTopology(
  'a handshake',
  (service) => {
    const sessions = () => client(service().address).sessions;
    const game = (options: GameOptions = {}) => startGame(client(service().address), options);

    test('lets a session in; its data and rooms are there when the application hears of it', async () => {
      const { io, url, installed } = await game();
      const seen: unknown[] = [];
      io.on('connection', (socket) => {
        seen.push(socket.data.session, [...socket.rooms].sort());
      });
      const { session, sessionToken } = await login(sessions(), { roles: ['player'] });
      const { sessionId, userId } = session;
      const player = new Player(url, sessionToken);
      expect(await player.outcome).toBe('connected');
      expect(seen).toEqual([
        { ...session, lastActiveMs: expect.any(Number), expiresAtMs: expect.any(Number) },
        [player.socket.id, `session:${sessionId}`, `user:${userId}`].sort(),
      ]);
      expect(installed.counts).toEqual({ handshakes: 0, sockets: 1, sessions: 1, users: 1 });
      io.to(`user:${userId}`).emit('news', 'to the user');
      io.to(`session:${sessionId}`).emit('news', 'to the session');
      io.to(`user:${randomNamespace()}`).emit('news', 'to another');
      await player.act();
      expect(player.told).toEqual([
        ['news', 'to the user'],
        ['news', 'to the session'],
      ]);
    });

    test('without a session is refused, with the reason', async () => {
      const { url, installed, io } = await game({ maxAuthAgeMs: 600_000 });
      let connections = 0;
      io.on('connection', () => connections++);
      const refusal = (sessionToken: string | undefined, auth = {}) =>
        new Player(url, undefined, { auth: { sessionToken, ...auth } }).outcome;
      const { session, sessionToken } = await login(sessions());
      expect(await refusal(undefined)).toEqual({ code: 'missing' });
      expect(await refusal('')).toEqual({ code: 'missing' });
      expect(await refusal('no token')).toEqual({ code: 'unknown' });
      expect(await refusal(sessionToken.slice(0, 25) + 'A'.repeat(43))).toEqual({ code: 'unknown' });

      const brief = await login(sessions(), { profile: 'brief' });
      await until(async () => (await sessions().validateSession(brief.sessionToken)).status === 'expired');
      const expired = { cause: 'expired_idle', reason: '', message: '' };
      expect(await refusal(brief.sessionToken)).toEqual({ code: 'expired', end: expired });

      const end = { reason: 'logout', message: 'Good night' };
      await sessions().destroySession(session.sessionId, end);
      expect(await refusal(sessionToken)).toEqual({ code: 'revoked', end: { cause: 'destroyed', ...end } });

      const bound = await login(sessions(), { profile: 'bound', client: { deviceId: 'mine' } });
      expect(await refusal(bound.sessionToken, { deviceId: 'stolen' })).toEqual({ code: 'binding' });
      expect(await refusal(bound.sessionToken, { deviceId: 'd'.repeat(600) })).toEqual({ code: 'binding' });
      expect(await refusal(bound.sessionToken, { deviceId: 'mine' })).toBe('connected');

      const old = await login(sessions(), { authenticatedAtMs: Date.now() - 3_600_000 });
      expect(await refusal(old.sessionToken)).toEqual({ code: 'step_up' });
      expect(connections).toBe(1);
      expect(installed.counts).toMatchObject({ handshakes: 0, sockets: 1 });
    });

    test('is compared with whom the application says it comes from', async () => {
      const clientOf = (socket: GameSocket) => ({ ip: String(socket.handshake.headers['x-real-ip']) });
      const { url } = await game({ clientOf });
      const { sessionToken } = await login(sessions(), { profile: 'bound', client: { ip: '203.0.113.9' } });
      const from = (ip: string) => new Player(url, sessionToken, { extraHeaders: { 'x-real-ip': ip } }).outcome;
      expect(await from('203.0.113.77')).toBe('connected');
      expect(await from('198.51.100.1')).toEqual({ code: 'binding' });
      expect(await from('nowhere')).toEqual({ code: 'binding' });
    });

    test('is refused where it does not tell what has to be compared', async () => {
      const { url, installed } = await game({ requiredClientFields: ['ip', 'userAgent', 'deviceId'] });
      const { sessionToken } = await login(sessions(), { profile: 'bound', client: { deviceId: 'mine' } });
      const by = (deviceId: unknown, userAgent = 'game') =>
        new Player(url, undefined, {
          auth: { sessionToken, deviceId },
          extraHeaders: { 'user-agent': userAgent },
        }).outcome;
      for (const none of [undefined, '', {}, ['mine'], 7, null]) expect(await by(none)).toEqual({ code: 'binding' });
      expect(await by('mine', '')).toEqual({ code: 'binding' });
      expect(await by('stolen')).toEqual({ code: 'binding' });
      expect(installed.counts).toEqual(NOBODY);
      expect(await by('mine')).toBe('connected');

      const behind = await game({ requiredClientFields: ['ip'], clientOf: () => ({ deviceId: 'mine' }) });
      expect(await new Player(behind.url, sessionToken).outcome).toEqual({ code: 'binding' });
    });

    test('may show its token as a bearer, and as a cookie to those it is meant for', async () => {
      const origins = ['https://play.example'];
      const { url } = await game({ cookie: { name: 'sid', origins } });
      const plain = await game();
      const { sessionToken } = await login(sessions());
      const by = (extraHeaders: Record<string, string>, to = url) =>
        new Player(to, undefined, { extraHeaders }).outcome;
      const cookie = `theme=dark; sid=${sessionToken}`;
      expect(await by({ authorization: `Bearer ${sessionToken}` })).toBe('connected');
      expect(await by({ cookie, origin: 'https://play.example' })).toBe('connected');
      const two = { authorization: 'Bearer two words', cookie, origin: 'https://play.example' };
      expect(await by(two)).toEqual({ code: 'unknown' });
      expect(await by({ cookie, origin: 'https://evil.example' })).toEqual({ code: 'missing' });
      expect(await by({ cookie })).toEqual({ code: 'missing' });
      expect(await by({ cookie, origin: 'https://play.example' }, plain.url)).toEqual({ code: 'missing' });
    });

    test('may name a session that was proved otherwise', async () => {
      const { session } = await login(sessions(), { authenticatedAtMs: Date.now() - 3_600_000 });
      const named = (credential: { sessionId: string; userId?: string }, options: GameOptions = {}) =>
        game({ tokenFrom: () => Promise.resolve(credential), ...options }).then(
          ({ url }) => new Player(url, undefined).outcome,
        );
      const { sessionId, userId } = session;
      expect(await named({ sessionId, userId })).toBe('connected');
      expect(await named({ sessionId })).toBe('connected');
      expect(await named({ sessionId, userId: 'another' })).toEqual({ code: 'unknown' });
      expect(await named({ sessionId: 'none' })).toEqual({ code: 'unknown' });
      expect(await named({ sessionId: 'A'.repeat(24) })).toEqual({ code: 'unknown' });
      expect(await named({ sessionId }, { maxAuthAgeMs: 600_000 })).toEqual({ code: 'step_up' });
    });

    test('is refused where the application cannot tell', async () => {
      const errors: unknown[] = [];
      const log = (details: object): void => void errors.push(details);
      const { url } = await game({
        tokenFrom: () => {
          throw new Error('broken');
        },
        logger: { debug: log, warn: log, error: log },
      });
      expect(await new Player(url, 'any').outcome).toMatchObject({ code: 'unavailable' });
      expect(errors).toEqual([{ err: new Error('broken') }]);
    });

    test('is refused after close, also where it was under way; sockets stay then', async () => {
      const connected = client(service().address);
      const gate = new Gate();
      let validations = 0;
      const validateSession: Sessions['validateSession'] = async (...call) => {
        const result = await connected.sessions.validateSession(...call);
        if (++validations > 1) await gate.opened;
        return result;
      };
      const closed = await startGame(overriding(connected, { validateSession }));
      const { session, sessionToken } = await login(sessions());
      const player = await join(closed, sessionToken);
      const underWay = new Player(closed.url, sessionToken);
      await until(() => validations === 2);
      closed.installed.close();
      gate.open();
      expect(await underWay.outcome).toMatchObject({ code: 'unavailable' });
      expect(await new Player(closed.url, sessionToken).outcome).toMatchObject({ code: 'unavailable' });
      await sessions().destroySession(session.sessionId);
      await player.act();
      expect(player.socket.connected).toBe(true);
      expect(closed.installed.counts).toEqual(NOBODY);
    });
  },
  { POLICIES_FILE },
);

test('is refused while there is no service, and says when to try again', async () => {
  const nowhere = client(`127.0.0.1:${String(await freePort())}`);
  const { url, installed } = await startGame(nowhere, { handshakeTimeoutMs: 200 });
  const retryAfterMs = expect.any(Number);
  expect(await new Player(url, 'A'.repeat(68)).outcome).toEqual({ code: 'unavailable', retryAfterMs });
  expect(installed.counts).toEqual(NOBODY);
});
