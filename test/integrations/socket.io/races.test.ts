import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Sessions } from '../../../src/client/index.js';
import { until } from '../../support/redis-server.js';
import { SeededRandom } from '../../support/seeded-random.js';
import { sharedRedisUrl, startTestService, type TestService } from '../../support/service.js';
import { client, login, POLICIES_FILE } from '../../client/sessions/support.js';
import { Gate, join, NOBODY, overriding, Player, startGame, untilKicked } from './support.js';

/** Sessions that end while their sockets connect. */

let service: TestService;
let other: TestService;
beforeAll(async () => {
  const env = { REDIS_URL: sharedRedisUrl('standalone'), POLICIES_FILE };
  service = await startTestService(env);
  other = await startTestService({ ...env, NAMESPACE: service.namespace });
});
afterAll(async () => {
  await Promise.all([service.stop(), other.stop()]);
});
const elsewhere = (): Sessions => client(other.address).sessions;

const END = { reason: 'ban', message: 'Not here' };
const NOTICE = { cause: 'destroyed', ...END };

test('an end behind the validation and before its answer refuses the handshake', async () => {
  const connected = client(service.address);
  const held = new Gate();
  const validated = new Gate();
  let holds = false;
  const playing = await startGame(
    overriding(connected, {
      validateSession: async (...call) => {
        const result = await connected.sessions.validateSession(...call);
        if (holds) {
          validated.open();
          await held.opened;
        }
        return result;
      },
    }),
  );
  const { session, sessionToken } = await login(elsewhere());
  const first = await join(playing, sessionToken);
  holds = true;
  const second = new Player(playing.url, sessionToken);
  await validated.opened;
  await elsewhere().destroySession(session.sessionId, END);
  // so the end is known in the game's process
  expect(await untilKicked(first)).toEqual(NOTICE);
  held.open();
  expect(await second.outcome).toEqual({ code: 'revoked', end: NOTICE });
  expect(playing.installed.counts).toEqual(NOBODY);
});

test('an end while another middleware has the socket disconnects it when it is connected', async () => {
  const playing = await startGame(client(service.address));
  const { session, sessionToken } = await login(elsewhere());
  const first = await join(playing, sessionToken);
  const passes: (() => void)[] = [];
  playing.io.use((_socket, next) => {
    passes.push(next);
  });
  const second = new Player(playing.url, sessionToken);
  await until(() => passes.length === 1);
  await elsewhere().destroySession(session.sessionId, END);
  expect(await untilKicked(first)).toEqual(NOTICE);
  for (const pass of passes) pass();
  expect(await untilKicked(second)).toEqual(NOTICE);
  expect(playing.installed.counts).toEqual(NOBODY);
});

test.each([1, 2])('of 50 that connect while users are logged out, none outlives its session; seed %d', async (seed) => {
  const random = new SeededRandom(seed);
  const playing = await startGame(client(service.address));
  const there = elsewhere();
  const logins = await Promise.all(Array.from({ length: 25 }, () => login(there)));
  const doomed = logins.filter(() => random.chance(0.5)).map(({ session }) => session.userId);
  const players: Player[] = [];
  const destroyed: Promise<unknown>[] = [];
  const steps = [
    ...[...logins, ...logins].map(
      ({ sessionToken }) =>
        () =>
          players.push(new Player(playing.url, sessionToken)),
    ),
    ...doomed.map((userId) => () => destroyed.push(there.destroyUserSessions(userId, END))),
  ];
  while (steps.length > 0) {
    for (const step of steps.splice(random.below(steps.length), 1)) step();
    // some of them at once
    if (random.chance(0.3)) await there.getSession(logins[0]?.session.sessionId ?? '');
  }
  await Promise.all([...destroyed, ...players.map(({ outcome }) => outcome)]);
  const userIds = (): string[] => [...playing.io.of('/').sockets.values()].map(({ data }) => data.session.userId);
  await until(() => !userIds().some((userId) => doomed.includes(userId)));
  const living = logins.map(({ session }) => session.userId).filter((userId) => !doomed.includes(userId));
  expect(userIds().sort()).toEqual([...living, ...living].sort());
  expect(playing.installed.counts).toMatchObject({ handshakes: 0, sockets: 2 * living.length });
});
