import { afterAll, beforeAll, expect, test } from '@jest/globals';
import {
  SessionEndCause,
  SessionServiceService,
  ValidateSessionStatus,
  type Session,
} from '../../src/gen/shardkeep/session/v1/session.js';
import type { PromiseClient } from '../support/client.js';
import { until } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess, type ServiceProcess } from '../support/service-process.js';
import { policiesFile, randomNamespace, sharedRedisUrl } from '../support/service.js';

/** Processes whose own clocks are an hour off, beside one whose clock is right: all see the same sessions, by Redis's clock. */

const HOUR_MS = 3_600_000;
const IDLE_MS = 10 * 60_000;
const profile = { absolute_ttl_ms: 2 * IDLE_MS, touch_granularity_ms: 0, max_sessions: 0, at_limit: 'refuse' };
const env = {
  REDIS_URL: sharedRedisUrl('standalone'),
  NAMESPACE: randomNamespace(),
  POLICIES_FILE: policiesFile({
    rpc_limits: [],
    session_profiles: {
      plain: { ...profile, idle_ttl_ms: IDLE_MS },
      // a plain read of it may decide, by the process's copy of Redis's clock
      coarse: { ...profile, idle_ttl_ms: IDLE_MS, touch_granularity_ms: 30_000 },
    },
  }),
};

/** Shifts the wall clock of a process, and with it the moment that its monotonic clock counts from. */
function wallClockOff(byMs: number): string[] {
  const shift = `
    const Real = Date;
    globalThis.Date = class extends Real {
      constructor(...given) { super(...(given.length === 0 ? [Real.now() + ${String(byMs)}] : given)); }
      static now() { return Real.now() + ${String(byMs)}; }
    };
    const { timeOrigin } = performance;
    Object.defineProperty(performance, 'timeOrigin', { value: timeOrigin + ${String(byMs)} });`;
  return ['--import', `data:text/javascript,${encodeURIComponent(shift)}`];
}

const OFFSETS = [0, HOUR_MS, -HOUR_MS];
let processes: readonly ServiceProcess[];
let services: readonly PromiseClient<typeof SessionServiceService>[];

beforeAll(async () => {
  processes = await Promise.all(
    OFFSETS.map((byMs) => startServiceProcess(env, { nodeArgs: byMs === 0 ? [] : wallClockOff(byMs) })),
  );
  services = processes.map((process) => process.channel().of(SessionServiceService));
});
afterAll(killServiceProcesses);
/** The answers of all processes to one question; they must be one. */
async function agreed<Answer>(ask: (sessions: PromiseClient<typeof SessionServiceService>) => Promise<Answer>) {
  const answers = await Promise.all(services.map(ask));
  for (const answer of answers) expect(answer).toEqual(answers[0]);
  return answers[0];
}

test('their clocks are off', () => {
  const times = processes.map(({ logs }) => Number(logs[0]?.time));
  const [honest = 0, ahead = 0, behind = 0] = times;
  // started within a minute of each other
  expect(Math.round((ahead - honest) / HOUR_MS)).toBe(1);
  expect(Math.round((behind - honest) / HOUR_MS)).toBe(-1);
});

test.each(['plain', 'coarse'])(
  'a session of profile %s made by any of them is the same to all',
  async (profileName) => {
    for (const maker of services) {
      const userId = randomNamespace();
      const before = Date.now();
      const { session, sessionToken } = await maker.createSession({ userId, profile: profileName });
      if (session === undefined) throw new Error('not created');
      const { sessionId } = session;
      // the test's own clock is that of Redis, on the same machine
      expect(Number(session.createdAtMs)).toBeGreaterThanOrEqual(before - 1);
      expect(Number(session.createdAtMs)).toBeLessThanOrEqual(Date.now() + 1);
      expect((await agreed((sessions) => sessions.getSession({ sessionId })))?.session).toEqual(session);
      let last: Session = session;
      for (const sessions of services) {
        const validated = await sessions.validateSession({ sessionToken });
        expect(validated.status).toBe(ValidateSessionStatus.VALID);
        const { session: extended } = await sessions.extendSession({ sessionId, ttlMs: BigInt(IDLE_MS) });
        if (extended === undefined) throw new Error('no session');
        expect(extended.lastActiveMs).toBeGreaterThanOrEqual(last.lastActiveMs);
        expect(extended.expiresAtMs).toBeGreaterThanOrEqual(last.expiresAtMs);
        expect(extended.expiresAtMs - extended.createdAtMs).toBeLessThanOrEqual(BigInt(2 * IDLE_MS));
        last = extended;
      }
      await services[1]?.destroySession({ sessionId });
      const ended = await agreed((sessions) => sessions.validateSession({ sessionToken }));
      expect(ended?.status).toBe(ValidateSessionStatus.REVOKED);
    }
  },
);

test('what runs out, or was announced, is over for all of them at once', async () => {
  for (const maker of services) {
    const userId = randomNamespace();
    const idle = await maker.createSession({ userId, profile: 'plain', idleTtlMs: 100n });
    const announced = await maker.createSession({ userId, profile: 'coarse' });
    await maker.destroySession({ sessionId: announced.session?.sessionId ?? '', reason: 'kick', effectiveInMs: 100n });
    const [honest] = services;
    await until(async () => (await honest?.listUserSessions({ userId }))?.totalCount === 0);
    const ranOut = await agreed(({ validateSession }) => validateSession({ sessionToken: idle.sessionToken }));
    expect(ranOut?.end?.cause).toBe(SessionEndCause.EXPIRED_IDLE);
    const kicked = await agreed(({ validateSession }) => validateSession({ sessionToken: announced.sessionToken }));
    expect(kicked?.end).toMatchObject({ cause: SessionEndCause.DESTROYED, reason: 'kick' });
  }
});

test('a login that was proved by a clock that is ahead counts as proved now, and one from before a logout is refused', async () => {
  for (const maker of services) {
    const userId = randomNamespace();
    const early = await maker.createSession({ userId, authenticatedAtMs: BigInt(Date.now() + HOUR_MS) });
    expect(early.session?.authenticatedAtMs).toBe(early.session?.createdAtMs);
    const { revokedAtMs } = await maker.destroyUserSessions({ userId });
    const refused = await agreed(({ createSession }) => createSession({ userId, authenticatedAtMs: revokedAtMs - 1n }));
    expect(refused?.session).toBeUndefined();
  }
});
