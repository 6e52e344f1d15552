import { status as Code } from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { connect, ShardkeepError, type Rpc, type ShardkeepClient } from '../../src/client/index.js';
import { ValidateSessionStatus } from '../../src/gen/shardkeep/session/v1/session.js';
import { makeMutant, type Mutation } from '../support/mutant.js';
import { rawRedis, type RawRedis } from '../support/raw-redis.js';
import { killServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { policiesFile, randomNamespace, sharedRedisUrl, startTestService, TOPOLOGIES } from '../support/service.js';
import { SessionBooks, TERMINAL_EVENTS } from '../support/session-books.js';

/**
 * A logout while calls of the same session are in flight (Django 21608, connect-redis 328): nothing that began before it
 * brings the session back, and nothing that begins behind it finds one.
 */

const MINUTE_MS = 60_000;
const profile = { idle_ttl_ms: 10 * MINUTE_MS, absolute_ttl_ms: 0, touch_granularity_ms: 0, at_limit: 'evict_oldest' };
const POLICIES_FILE = policiesFile({
  rpc_limits: [],
  session_profiles: { many: { ...profile, max_sessions: 0 }, one: { ...profile, max_sessions: 1 } },
});
const IN_FLIGHT = 100;
/** Rounds at once, each of another session: so many calls are under way that they meet in every order. */
const AT_ONCE = 10;
const TOMBSTONE_FORMAT = 2;

type Sessions = Rpc['sessions'];

interface Player {
  readonly userId: string;
  readonly sessionId: string;
  readonly sessionToken: string;
}

/** What ends the session of a player; resolves when that is answered. */
type End = (sessions: Sessions, player: Player) => Promise<unknown>;

/** So many rounds on standalone and on Cluster, where the scripts are the same; 1,000 in all. */
const ends = {
  DestroySession: {
    rounds: { standalone: 850, cluster: 150 },
    end: (sessions: Sessions, { sessionId }: Player) => sessions.destroySession({ sessionId }),
  },
  DestroyUserSessions: {
    rounds: { standalone: 50, cluster: 25 },
    end: (sessions: Sessions, { userId }: Player) => sessions.destroyUserSessions({ userId }),
  },
  'eviction by CreateSession': {
    rounds: { standalone: 50, cluster: 25 },
    end: (sessions: Sessions, { userId }: Player) => sessions.createSession({ userId, profile: 'one' }),
  },
};

async function login(sessions: Sessions): Promise<Player> {
  const userId = randomNamespace();
  const { session, sessionToken } = await sessions.createSession({ userId, profile: 'many' });
  if (session === undefined) throw new Error('not created');
  return { userId, sessionId: session.sessionId, sessionToken };
}

/** What calls of the session say, one of each kind; 'live' where it is found. */
async function outcomes(sessions: Sessions, { sessionId, sessionToken }: Player): Promise<string[]> {
  const found = (call: Promise<unknown>): Promise<string> => call.then(() => 'live', outcomeOf);
  return Promise.all([
    sessions.validateSession({ sessionToken }).then(({ status }) => ValidateSessionStatus[status], outcomeOf),
    found(sessions.getSession({ sessionId })),
    found(sessions.updateSession({ sessionId, incrementMetadata: new Map([['hits', 1n]]) })),
    found(sessions.extendSession({ sessionId, ttlMs: BigInt(MINUTE_MS) })),
    sessions.destroySession({ sessionId }).then(({ destroyed }) => (destroyed ? 'live' : 'GONE'), outcomeOf),
  ]);
}

const ENDED = ['REVOKED', 'NOT_FOUND', 'NOT_FOUND', 'NOT_FOUND', 'GONE'];

function outcomeOf(error: unknown): string {
  return error instanceof ShardkeepError ? Code[error.code] : String(error);
}

/**
 * One more call in flight; what becomes of it is as may be. One in ten updates the session: each is tried again for every
 * other that came first.
 */
function callOf(sessions: Sessions, { sessionId, sessionToken }: Player, index: number): Promise<unknown> {
  const kind = index % 10;
  if (kind === 0) return sessions.updateSession({ sessionId, incrementMetadata: new Map([['hits', 1n]]) });
  if (kind < 4) return sessions.extendSession({ sessionId, ttlMs: BigInt(20 * MINUTE_MS + index) });
  return sessions.validateSession({ sessionToken });
}

/** Ends the session with the calls in flight, and answers what calls behind that said where they did not say it is gone. */
async function round(sessions: Sessions, end: End): Promise<{ player: Player; found: string[][] }> {
  const player = await login(sessions);
  const first = Array.from({ length: IN_FLIGHT / 2 }, (_, index) => callOf(sessions, player, index));
  const ended = end(sessions, player);
  const second = Array.from({ length: IN_FLIGHT / 2 }, (_, index) => callOf(sessions, player, index));
  const inFlight = Promise.allSettled([...first, ...second]);
  await ended;
  const atOnce = await outcomes(sessions, player);
  await inFlight;
  const later = await outcomes(sessions, player);
  return { player, found: [atOnce, later].filter((said) => said.join() !== ENDED.join()) };
}

/** What is wrong with what Redis holds of a session that has ended. */
async function traces(books: SessionBooks, { userId, sessionId }: Player): Promise<string[]> {
  const [record, indexed, dueAtMs, types] = await Promise.all([
    books.record(userId, sessionId),
    books.indexed(userId),
    books.dueAtMs(userId, sessionId),
    books.typesOf(userId, sessionId),
  ]);
  return [
    ...(record?.[0] === TOMBSTONE_FORMAT ? [] : ['the record is no tombstone']),
    ...(indexed.includes(sessionId) ? ["it is in the user's index"] : []),
    ...(dueAtMs === undefined ? [] : ['it is in the index of deadlines']),
    ...(types.filter((type) => TERMINAL_EVENTS.has(type)).length === 1 ? [] : ['it has not one event that ends it']),
    ...(TERMINAL_EVENTS.has(types.at(-1) ?? '') ? [] : ['something was told behind its end']),
  ];
}

/** Answers everything that was found of sessions that had ended. */
async function race(sessions: Sessions, books: SessionBooks, end: End, rounds: number): Promise<unknown[]> {
  const wrong: unknown[] = [];
  for (let done = 0; done < rounds && wrong.length === 0; done += AT_ONCE) {
    const played = await Promise.all(Array.from({ length: AT_ONCE }, () => round(sessions, end)));
    wrong.push(...played.flatMap(({ found }) => found));
    const left = await Promise.all(played.map(({ player }) => traces(books, player)));
    wrong.push(...left.flat());
  }
  return wrong;
}

describe.each(TOPOLOGIES)('on %s a session that was ended stays ended:', (topology) => {
  const namespace = randomNamespace();
  const env = { REDIS_URL: sharedRedisUrl(topology), NAMESPACE: namespace, POLICIES_FILE };
  let redis: RawRedis;
  let books: SessionBooks;
  const clients: ShardkeepClient[] = [];

  function sessionsOf(address: string): Sessions {
    const client = connect(address, { timeoutMs: 30_000 });
    clients.push(client);
    return client.rpc.sessions;
  }

  beforeAll(async () => {
    redis = await rawRedis(topology);
    books = new SessionBooks(redis, namespace);
  });
  afterEach(async () => {
    await Promise.all(clients.splice(0).map((client) => client.close()));
    await killServiceProcesses();
  });
  afterAll(() => redis.close());

  test.each(Object.entries(ends))('%s', async (_, { end, rounds }) => {
    const service = await startTestService(env);
    const wrong = await race(sessionsOf(service.address), books, end, rounds[topology]);
    await Promise.all(clients.splice(0).map((client) => client.close()));
    await service.stop();
    expect(wrong).toEqual([]);
  });
});

describe('a build that brings sessions back is found out, which', () => {
  const namespace = randomNamespace();
  const mutations: Readonly<Record<string, Mutation>> = {
    'writes an update whether the session is there or not': {
      file: 'session/lua/update-session.lua',
      from: "if not session_is_live(session, now_ms) then return {'GONE'} end",
      to: `if not session then
        local made = struct.pack('>BI2BI8I8I6I6I6I6I6I6I4', 1, 98, 0, 0, 0, now_ms, now_ms, now_ms + 60000, 0, now_ms, 60000, 0)
          .. string.rep('x', 32) .. struct.pack('>BI2', 0, 3) .. 'ada'
        session = unpack_session(string.sub(made, 1, 4) .. version .. string.sub(made, 13))
      end`,
    },
    'tells of a change whether the session is live or not': {
      file: 'session/lua/announce-change.lua',
      from: "if not session_is_live(session, now_ms) then return {'GONE'} end",
      to: "session = session or {untold_updates = 1, untold_extends = 0, user = ''}",
    },
  };

  test.each(Object.entries(mutations))('%s', async (_, mutation) => {
    const redis = await rawRedis('standalone');
    const mutant = makeMutant(mutation);
    const service = await startServiceProcess(
      { REDIS_URL: sharedRedisUrl('standalone'), NAMESPACE: namespace, POLICIES_FILE },
      { main: mutant.main },
    );
    const client = connect(service.address, { timeoutMs: 30_000 });
    const books = new SessionBooks(redis, namespace);
    const { end, rounds } = ends.DestroySession;
    const wrong = await race(client.rpc.sessions, books, end, rounds.standalone);
    await client.close();
    await service.stop();
    await redis.close();
    mutant.remove();
    expect(wrong).not.toEqual([]);
  });
});
