import { afterAll, beforeAll, expect, test } from '@jest/globals';
import {
  SessionServiceService,
  ValidateSessionStatus,
  type ValidateSessionRequest,
} from '../../src/gen/shardkeep/session/v1/session.js';
import type { PromiseClient } from '../support/client.js';
import { serviceUrl, startRedis, until, type RedisServer } from '../support/redis-server.js';
import { policiesFile, randomNamespace } from '../support/service.js';
import { killServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.js';

/** How often a call goes to Redis and back, counted on the wire. */

const profile = { idle_ttl_ms: 3_600_000, absolute_ttl_ms: 0, max_sessions: 3, at_limit: 'evict_oldest' };
const POLICIES_FILE = policiesFile({
  rpc_limits: [],
  session_profiles: {
    coarse: { ...profile, touch_granularity_ms: 180_000 },
    fine: { ...profile, touch_granularity_ms: 0 },
    // a plain read needs a second's distance to the next touch
    soon: { ...profile, touch_granularity_ms: 1_500 },
    strict: { ...profile, touch_granularity_ms: 180_000, binding: { device_id: 'reject' } },
  },
});

let redis: RedisServer;
let proxy: TcpProxy;
let sessions: PromiseClient<typeof SessionServiceService>;
/** Through another process, on no wire that is counted. */
let other: PromiseClient<typeof SessionServiceService>;
let trips: string[] = [];
/** Users and sessions of this file; what the service sends of its own accord names none of them. */
const ids: string[] = [];

beforeAll(async () => {
  redis = await startRedis();
  proxy = await startTcpProxy(Number(new URL(redis.url).port), (piece) => {
    const commands = piece.split(/(?=\*\d+\r\n\$\d+\r\n[A-Z]+\r\n)/);
    const asked = commands.filter((text) => ids.some((id) => text.includes(id)));
    // what is sent in one piece makes one trip
    const names = asked.map((text) => /^\*\d+\r\n\$\d+\r\n([A-Z]+)\r\n/.exec(text)?.[1] ?? text);
    if (names.length > 0) trips.push(names.join(' and '));
  });
  const service = await startServiceProcess({
    REDIS_URL: serviceUrl(proxy.port),
    POLICIES_FILE,
  });
  const another = await startServiceProcess({ REDIS_URL: redis.url, NAMESPACE: service.namespace, POLICIES_FILE });
  sessions = service.channel().of(SessionServiceService);
  other = another.channel().of(SessionServiceService);
});
afterAll(async () => {
  await killServiceProcesses();
  await proxy.close();
  await redis.remove();
});

async function tripsOf(call: () => Promise<unknown>): Promise<string[]> {
  trips = [];
  await call();
  return trips;
}

function randomUser(): string {
  const userId = randomNamespace();
  ids.push(userId);
  return userId;
}

interface Login {
  readonly userId: string;
  readonly sessionId: string;
  readonly token: string;
}

async function login(by = sessions, profileName = 'coarse', metadata = new Map<string, string>()): Promise<Login> {
  const userId = randomUser();
  const { session, sessionToken } = await by.createSession({ userId, profile: profileName, metadata });
  if (session === undefined) throw new Error('not created');
  ids.push(session.sessionId);
  return { userId, sessionId: session.sessionId, token: sessionToken };
}

const { VALID, STEP_UP, BINDING, REVOKED } = ValidateSessionStatus;

async function validation(
  sessionToken: string,
  expected: ValidateSessionStatus,
  more: Partial<ValidateSessionRequest> = {},
): Promise<string[]> {
  return tripsOf(async () => {
    expect((await sessions.validateSession({ sessionToken, ...more })).status).toBe(expected);
  });
}

test('a login is one trip, also at the limit, with a request id, and in the place of another session', async () => {
  const first = await login();
  expect(await tripsOf(() => login())).toEqual(['EVALSHA']);
  const { userId } = first;
  for (let count = 0; count < 4; count++) {
    expect(await tripsOf(() => sessions.createSession({ userId, profile: 'coarse' }))).toEqual(['EVALSHA']);
  }
  const request = { userId, profile: 'coarse', requestId: randomNamespace().padEnd(32, 'x') };
  expect(await tripsOf(() => sessions.createSession(request))).toEqual(['EVALSHA']);
  expect(await tripsOf(() => sessions.createSession(request))).toEqual(['EVALSHA']);
  const replaced = await login();
  const replacing = { userId: replaced.userId, profile: 'coarse', replacesSessionToken: replaced.token };
  expect(await tripsOf(() => sessions.createSession(replacing))).toEqual(['EVALSHA']);
});

test('a validation is one plain read while no touch is due, and one script when one is', async () => {
  const plain = await login();
  for (let count = 0; count < 3; count++) expect(await validation(plain.token, VALID)).toEqual(['GET']);
  const due = await login(sessions, 'fine');
  for (let count = 0; count < 3; count++) expect(await validation(due.token, VALID)).toEqual(['EVALSHA']);
});

test('a touch that becomes due costs no trip more', async () => {
  const { token } = await login(sessions, 'soon');
  const seen = new Set<string>();
  await until(async () => {
    const asked = await validation(token, VALID);
    expect(asked).toHaveLength(1);
    seen.add(asked[0] ?? '');
    return seen.size === 2;
  });
  expect([...seen]).toEqual(['GET', 'EVALSHA']);
});

test('a session that another process made costs a script once, and then plain reads', async () => {
  const { token } = await login(other);
  expect(await validation(token, VALID)).toEqual(['EVALSHA']);
  expect(await validation(token, VALID)).toEqual(['GET']);
});

test('a guess that is wrong costs a trip and never a wrong answer', async () => {
  const { token, sessionId } = await login();
  expect(await validation(token, VALID)).toEqual(['GET']);
  await other.destroySession({ sessionId });
  expect(await validation(token, REVOKED)).toEqual(['GET', 'EVALSHA']);
});

test('step-up and binding are decided in one trip', async () => {
  const metadata = new Map([['device_id', 'mine']]);
  const { token } = await login(sessions, 'strict', metadata);
  const mine = { ip: '', userAgent: '', deviceId: 'mine' };
  expect(await validation(token, VALID, { client: mine, maxAuthAgeMs: 600_000n })).toEqual(['GET']);
  expect(await validation(token, BINDING, { client: { ...mine, deviceId: 'stolen' } })).toEqual(['GET']);
  const longAgo = { userId: randomUser(), profile: 'coarse', authenticatedAtMs: 1n };
  const { session, sessionToken } = await sessions.createSession(longAgo);
  ids.push(session?.sessionId ?? '');
  expect(await validation(sessionToken, STEP_UP, { maxAuthAgeMs: 600_000n })).toEqual(['GET']);
});

test('the other calls: one trip each, an update two', async () => {
  const { token, sessionId, userId } = await login();
  const one: (() => Promise<unknown>)[] = [
    () => sessions.getSession({ sessionId }),
    () => sessions.listUserSessions({ userId }),
    () => sessions.rotateSession({ sessionToken: token }),
    () => sessions.rotateSession({ sessionToken: token }),
    () => sessions.destroySession({ sessionId }),
    () => sessions.destroySession({ sessionId }),
    () => sessions.destroyUserSessions({ userId }),
  ];
  const update = (): Promise<unknown> => sessions.updateSession({ sessionId, incrementMetadata: new Map([['a', 1n]]) });
  // behind the change goes what tells watchers of it; nobody waits for its answer
  expect(await tripsOf(update)).toEqual(['EVALSHA', 'EVALSHA and EVALSHA']);
  const extend = (): Promise<unknown> => sessions.extendSession({ sessionId, ttlMs: 3_600_000n });
  expect(await tripsOf(extend)).toEqual(['EVALSHA and EVALSHA']);
  for (const call of one) expect(await tripsOf(call)).toEqual(['EVALSHA']);
});
