import { createHash } from 'node:crypto';
import { expect, test } from '@jest/globals';
import { pino } from 'pino';
import { CreateSessionStatus, SessionServiceService } from '../../src/gen/shardkeep/session/v1/session.js';
import { until } from '../support/redis-server.js';
import { openStream } from '../support/stream-client.js';
import { policiesFile, sharedRedisUrl, startTestService } from '../support/service.js';

/** What became of sessions is written down, with who and why, and with nothing that opens a session or is private. */

const profile = { idle_ttl_ms: 600_000, absolute_ttl_ms: 0, touch_granularity_ms: 0, max_sessions: 1 };
const POLICIES_FILE = policiesFile({
  rpc_limits: [],
  session_profiles: {
    evicts: { ...profile, at_limit: 'evict_oldest' },
    refuses: { ...profile, at_limit: 'refuse' },
  },
});
const REDIS_URL = sharedRedisUrl('standalone');
const PRIVATE = 'PRIVATE-METADATA-VALUE';
const MESSAGE = 'words for the player';

type Line = Readonly<Record<string, unknown>>;

function capture(): { readonly lines: Line[]; readonly logger: pino.Logger } {
  const lines: Line[] = [];
  const write = (line: string): void => {
    lines.push(JSON.parse(line) as Line);
  };
  return { lines, logger: pino({ level: 'trace' }, { write }) };
}

test('every event is one line with its handles, and no token, secret or metadata ever gets into the log', async () => {
  const { lines, logger } = capture();
  const service = await startTestService({ REDIS_URL, POLICIES_FILE }, { logger });
  const { sessions, channel } = service;
  const audited = (): Line[] => lines.filter(({ audit }) => audit === true);
  const about = (event: string): Line[] => audited().filter((line) => line.event === event);
  const secrets: string[] = [PRIVATE, MESSAGE];
  const login = async (userId: string, profileName: string) => {
    const metadata = new Map([['device_id', PRIVATE]]);
    const answer = await sessions.createSession({ userId, profile: profileName, metadata });
    if (answer.status === CreateSessionStatus.CREATED) {
      const secret = answer.sessionToken.split('.')[1] ?? '';
      const hash = createHash('sha256').update(Buffer.from(secret, 'base64url')).digest();
      secrets.push(
        answer.sessionToken,
        secret,
        hash.toString('hex'),
        hash.toString('base64'),
        hash.toString('base64url'),
      );
    }
    return { id: answer.session?.sessionId ?? '', token: answer.sessionToken };
  };

  const first = await login('ada', 'evicts');
  const second = await login('ada', 'evicts');
  const third = await login('bob', 'refuses');
  await login('bob', 'refuses');
  await sessions.destroyUserSessions({ userId: 'bob', reason: 'banned', message: MESSAGE, blockForMs: 60_000n });
  await login('bob', 'refuses');
  await sessions.destroySession({ sessionId: second.id, reason: 'logout', message: MESSAGE });
  await sessions.destroySession({ sessionId: second.id, reason: 'logout', message: MESSAGE });
  const short = await sessions.createSession({ userId: 'idler', idleTtlMs: 1n });
  const peer = '127.0.0.1';
  await until(async () => {
    await sessions.cleanupExpiredSessions({});
    return about('swept').length === 1;
  });
  await login('cyd', 'evicts');
  await openStream(channel, SessionServiceService.destroyAllSessions, { reason: 'leak', message: MESSAGE }).result;

  const evicts = { profile: 'evicts', replacedSessionId: '', peer };
  expect(about('created').slice(0, 3)).toMatchObject([
    { sessionId: first.id, userId: 'ada', evictedSessionIds: [], ...evicts },
    { sessionId: second.id, userId: 'ada', evictedSessionIds: [first.id], ...evicts },
    { sessionId: third.id, userId: 'bob', profile: 'refuses', peer },
  ]);
  expect(about('login_refused')).toMatchObject([
    { userId: 'bob', profile: 'refuses', why: 'limit', peer },
    { userId: 'bob', profile: 'refuses', why: 'blocked', peer },
  ]);
  expect(about('user_destroyed')).toMatchObject([
    { userId: 'bob', count: 1, reason: 'banned', keptSessionId: '', blockForMs: 60_000, peer },
  ]);
  expect(about('destroyed')).toMatchObject([{ sessionId: second.id, reason: 'logout', peer }]);
  expect(about('swept')).toMatchObject([{ causes: { expired_idle: 1 }, sessionIds: [short.session?.sessionId] }]);
  expect(about('all_destroyed')).toMatchObject([
    { step: 'begun', reason: 'leak', peer },
    { step: 'ended', reason: 'leak', count: 1, done: true, peer },
  ]);
  expect(audited().every(({ level }) => level === pino.levels.values.info)).toBe(true);

  // every other RPC, with what it takes: right, wrong, and too late
  const live = await login('dee', 'evicts');
  const everything: [keyof typeof sessions, object][] = [
    ['validateSession', { sessionToken: live.token }],
    ['validateSession', { sessionToken: first.token }],
    ['validateSession', { sessionToken: `${live.token}x` }],
    ['validateSession', { sessionToken: `${live.id}.${'A'.repeat(43)}` }],
    ['getSession', { sessionId: live.id }],
    ['updateSession', { sessionId: live.id, removeMetadataKeys: ['device_id'] }],
    ['updateSession', { sessionId: live.id, incrementMetadata: new Map([['device_id', 1n]]) }],
    ['extendSession', { sessionId: live.id, ttlMs: 600_000n }],
    ['rotateSession', { sessionToken: live.token }],
    ['rotateSession', { sessionToken: first.token }],
    ['rotateSession', { sessionToken: `${live.token}x` }],
    ['listUserSessions', { userId: 'dee' }],
    ['claimCharacter', { userId: 'dee', characterId: 'hero', sessionId: live.id }],
    ['getCharacterClaim', { userId: 'dee', characterId: 'hero' }],
    ['checkCharacterClaim', { userId: 'dee', characterId: 'hero', epoch: 1n }],
    ['releaseCharacter', { userId: 'dee', characterId: 'hero', epoch: 1n }],
    ['createSession', { userId: 'dee', replacesSessionToken: live.token, requestId: PRIVATE }],
    ['createSession', { userId: '', metadata: new Map([['device_id', PRIVATE]]), replacesSessionToken: 'x' }],
    ['getSessionStats', {}],
  ];
  for (const [name, request] of everything) {
    const call = sessions[name] as (asked: object) => Promise<object>;
    const answer = await call(request).catch(() => undefined);
    const token: unknown = answer === undefined ? undefined : Reflect.get(answer, 'sessionToken');
    if (typeof token === 'string' && token !== '') secrets.push(token, token.split('.')[1] ?? '');
  }
  await service.stop();
  const log = JSON.stringify(lines);
  expect(secrets.length).toBeGreaterThan(20);
  expect(secrets.filter((secret) => log.includes(secret))).toEqual([]);
});

test('what only the retry of a login ends is written down too', async () => {
  const { lines, logger } = capture();
  const service = await startTestService({ REDIS_URL, POLICIES_FILE }, { logger });
  const { sessions } = service;
  const guest = await sessions.createSession({ userId: 'guest' });
  const sessionId = guest.session?.sessionId;
  const login = { userId: 'ada', requestId: 'r'.repeat(32) };
  // as if the first try had been cut off before it came to another user's session
  const first = await sessions.createSession(login);
  const retry = { ...login, replacesSessionToken: guest.sessionToken };
  for (let tries = 0; tries < 2; tries++) expect(await sessions.createSession(retry)).toEqual(first);
  await service.stop();
  const ended = lines.filter(({ audit, event }) => audit === true && event === 'destroyed');
  expect(ended).toMatchObject([{ sessionId, reason: 'replaced', peer: '127.0.0.1' }]);
});

test('AUDIT_LOG=0 turns it off', async () => {
  const { lines, logger } = capture();
  const service = await startTestService({ REDIS_URL, POLICIES_FILE, AUDIT_LOG: '0' }, { logger });
  const { session } = await service.sessions.createSession({ userId: 'ada' });
  await service.sessions.destroySession({ sessionId: session?.sessionId ?? '' });
  await service.stop();
  expect(lines.some(({ audit }) => audit === true)).toBe(false);
  expect(JSON.stringify(lines)).not.toContain(session?.sessionId ?? 'none');
});
