import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { CharacterClaimPolicy, SessionServiceService } from '../../src/gen/shardkeep/session/v1/session.js';
import { startCountingProxy } from '../support/counting-proxy.js';
import { serviceUrl, startRedis, until, type RedisServer } from '../support/redis-server.js';
import { policiesFile, randomNamespace, startTestService, type TestService } from '../support/service.js';
import { killServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { takeSessionCensus } from '../support/session-census.js';

/**
 * kill -9 of the service behind each command that an RPC takes: what Redis has then agrees, and another service process
 * does the same again and finishes it.
 */

type Sessions = TestService['sessions'];

/** The call that is killed, and done again by another service. */
type Step = (sessions: Sessions) => Promise<unknown>;
/** Makes what the call needs, through a service that lives. */
type Prepare = (sessions: Sessions) => Promise<Step>;

const profile = { idle_ttl_ms: 600_000, absolute_ttl_ms: 0, touch_granularity_ms: 0, at_limit: 'evict_oldest' };
const POLICIES_FILE = policiesFile({
  rpc_limits: [],
  session_profiles: {
    pair: { ...profile, max_sessions: 2 },
    many: { ...profile, max_sessions: 0 },
    no_grace: { ...profile, max_sessions: 0, rotation_grace_ms: 0 },
  },
});

async function login(sessions: Sessions, userId: string, name = 'many'): Promise<{ id: string; token: string }> {
  const { session, sessionToken } = await sessions.createSession({ userId, profile: name });
  if (session === undefined) throw new Error('not created');
  return { id: session.sessionId, token: sessionToken };
}

const FLOWS: Readonly<Record<string, Prepare>> = {
  CreateSession: () => {
    const userId = randomNamespace();
    return Promise.resolve((sessions) => sessions.createSession({ userId }));
  },
  'CreateSession that evicts': async (sessions) => {
    const userId = randomNamespace();
    for (let count = 0; count < 2; count++) await login(sessions, userId, 'pair');
    return (by) => by.createSession({ userId, profile: 'pair' });
  },
  'ValidateSession that touches': async (sessions) => {
    const { token: sessionToken } = await login(sessions, randomNamespace());
    return (by) => by.validateSession({ sessionToken });
  },
  UpdateSession: async (sessions) => {
    const { id: sessionId } = await login(sessions, randomNamespace());
    return (by) => by.updateSession({ sessionId, incrementMetadata: new Map([['hits', 1n]]) });
  },
  DestroySession: async (sessions) => {
    const { id: sessionId } = await login(sessions, randomNamespace());
    return (by) => by.destroySession({ sessionId });
  },
  'CreateSession with a request id': () => {
    const request = { userId: randomNamespace(), requestId: randomUUID() };
    return Promise.resolve((sessions) => sessions.createSession(request));
  },
  "CreateSession that replaces another user's": async (sessions) => {
    const { token: replacesSessionToken } = await login(sessions, randomNamespace());
    const request = { userId: randomNamespace(), requestId: randomUUID(), replacesSessionToken };
    return (by) => by.createSession(request);
  },
  RotateSession: async (sessions) => {
    const { token: sessionToken } = await login(sessions, randomNamespace());
    return (by) => by.rotateSession({ sessionToken, reauthenticated: true });
  },
  'ValidateSession with a stolen token': async (sessions) => {
    const { token: sessionToken } = await login(sessions, randomNamespace(), 'no_grace');
    await sessions.rotateSession({ sessionToken });
    return (by) => by.validateSession({ sessionToken });
  },
  ExtendSession: async (sessions) => {
    const { id: sessionId } = await login(sessions, randomNamespace());
    return (by) => by.extendSession({ sessionId, ttlMs: 700_000n });
  },
  'DestroySession that announces': async (sessions) => {
    const { id: sessionId } = await login(sessions, randomNamespace());
    return (by) => by.destroySession({ sessionId, effectiveInMs: 600_000n });
  },
  'ClaimCharacter that takes over': async (sessions) => {
    const userId = randomNamespace();
    const [first, second] = [await login(sessions, userId), await login(sessions, userId)];
    const claim = { userId, characterId: 'hero', policy: CharacterClaimPolicy.TAKEOVER };
    await sessions.claimCharacter({ ...claim, sessionId: first.id });
    return (by) => by.claimCharacter({ ...claim, sessionId: second.id });
  },
  'DestroySession of one that plays': async (sessions) => {
    const userId = randomNamespace();
    const { id: sessionId } = await login(sessions, userId);
    await sessions.claimCharacter({ userId, characterId: 'hero', sessionId });
    return (by) => by.destroySession({ sessionId });
  },
  CleanupExpiredSessions: async (sessions) => {
    const { session } = await sessions.createSession({ userId: randomNamespace(), idleTtlMs: 1n });
    const sessionId = session?.sessionId ?? '';
    await until(() =>
      sessions.getSession({ sessionId }).then(
        () => false,
        () => true,
      ),
    );
    return (by) => by.cleanupExpiredSessions({});
  },
  'DestroyUserSessions in two steps': async (sessions) => {
    const userId = randomNamespace();
    await Promise.all(Array.from({ length: 250 }, () => login(sessions, userId)));
    return (by) => by.destroyUserSessions({ userId });
  },
};

let redis: RedisServer;
let survivor: TestService;
beforeAll(async () => {
  redis = await startRedis();
  survivor = await startTestService({ REDIS_URL: redis.url, POLICIES_FILE });
});
afterAll(async () => {
  await killServiceProcesses();
  await survivor.stop();
  await redis.remove();
});

async function census(): Promise<readonly string[]> {
  return (await takeSessionCensus([redis.url], survivor.namespace)).problems;
}

describe.each(Object.entries(FLOWS))('%s', (_, prepare) => {
  test('leaves nothing half done, whichever of its commands was the last', async () => {
    for (let last = 1, commands = 1; last <= commands; last++) {
      const proxy = await startCountingProxy(redis.port);
      const service = await startServiceProcess({
        REDIS_URL: serviceUrl(proxy.port),
        NAMESPACE: survivor.namespace,
        POLICIES_FILE,
      });
      const channel = service.channel();
      const sessions = channel.of(SessionServiceService);
      // the first time round tells how many commands there are
      if (last === 1) {
        const step = await prepare(survivor.sessions);
        commands = await proxy.count(() => step(sessions));
      }
      const step = await prepare(survivor.sessions);
      const stopped = proxy.stopAfter(last);
      const unanswered = step(sessions).catch(() => undefined);
      await stopped;
      await service.stop('SIGKILL');
      await unanswered;
      expect(await census()).toEqual([]);
      await step(survivor.sessions);
      expect(await census()).toEqual([]);
      await proxy.close();
    }
  });
});
