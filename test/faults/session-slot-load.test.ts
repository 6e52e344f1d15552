import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import calculateSlot from 'cluster-key-slot';
import { ValidateSessionStatus } from '../../src/gen/shardkeep/session/v1/session.js';
import { keys, partitionOfUser } from '../../src/redis/keys.js';
import { failureOf } from '../support/client.js';
import { startCluster, type RedisCluster, type RedisServer } from '../support/redis-server.js';
import { beginSlotMove, endSlotMove } from '../support/slot-moves.js';
import { policiesFile, startTestService, type TestService } from '../support/service.js';
import { takeSessionCensus } from '../support/session-census.js';

/** A slot of sessions goes from one master to the other and back, key by key, while players are busy. */

const USER = 'player-1';
const MOVES = 4;
const SESSIONS = 24;

let cluster: RedisCluster;
let service: TestService;
beforeAll(async () => {
  cluster = await startCluster(2, 0);
  service = await startTestService({
    REDIS_URL: cluster.url,
    POLICIES_FILE: policiesFile({
      rpc_limits: [],
      session_profiles: {
        many: {
          idle_ttl_ms: 600_000,
          absolute_ttl_ms: 0,
          touch_granularity_ms: 0,
          max_sessions: 0,
          at_limit: 'evict_oldest',
        },
      },
    }),
    // a call that needs several keys is given up before its slot is through, and not by its deadline
    REDIS_MAX_RETRIES: '2',
    DEFAULT_DEADLINE_MS: '20000',
  });
});
afterAll(async () => {
  await service.stop();
  await cluster.remove();
});

const slotOf = (): number => calculateSlot(keys.sessions(service.namespace, partitionOfUser(USER)).deadlines);

async function moveSlot(source: RedisServer, target: RedisServer): Promise<void> {
  const move = { slot: slotOf(), source, target };
  await beginSlotMove(move);
  for (;;) {
    const [key] = (await source.command('CLUSTER', 'GETKEYSINSLOT', String(move.slot), '1')) as readonly Buffer[];
    if (key === undefined) break;
    await source.command('MIGRATE', '127.0.0.1', String(target.port), String(key), '0', '5000');
  }
  await endSlotMove(move, cluster.masters);
}

test('calls on one session never fail; those on several keys fail only while the slot moves, and change nothing then', async () => {
  const { sessions, namespace } = service;
  const login = async (): Promise<{ sessionId: string; sessionToken: string }> => {
    const { session, sessionToken } = await sessions.createSession({ userId: USER, profile: 'many' });
    return { sessionId: session?.sessionId ?? '', sessionToken };
  };
  const players = await Promise.all(Array.from({ length: SESSIONS }, login));
  let moves = 0;
  let isMoving = false;
  let done = false;

  const hits = new Map<string, number>();
  const play = async ({ sessionId, sessionToken }: (typeof players)[number]): Promise<void> => {
    while (!done) {
      expect((await sessions.validateSession({ sessionToken })).status).toBe(ValidateSessionStatus.VALID);
      await sessions.updateSession({ sessionId, incrementMetadata: new Map([['hits', 1n]]) });
      hits.set(sessionId, (hits.get(sessionId) ?? 0) + 1);
      await sessions.extendSession({ sessionId, ttlMs: 700_000n });
      expect((await sessions.getSession({ sessionId })).session?.metadata.get('hits')).toBe(
        String(hits.get(sessionId)),
      );
    }
  };

  const refused = { whileMoving: 0, otherwise: [] as unknown[] };
  let comings = 0;
  const comeAndGo = async (): Promise<void> => {
    while (!done) {
      const movesBefore = moves;
      const wasMoving = isMoving;
      const failure = await failureOf(
        login().then(async ({ sessionId }) => {
          comings++;
          await sessions.destroySession({ sessionId });
        }),
      ).catch(() => undefined);
      if (failure === undefined) continue;
      const moved = wasMoving || isMoving || moves !== movesBefore;
      if (moved && failure.code === Code.UNAVAILABLE) refused.whileMoving++;
      else refused.otherwise.push(failure);
    }
  };

  const busy = Promise.all([...players.map(play), comeAndGo(), comeAndGo()]);
  const [first, second] = cluster.masters;
  if (first === undefined || second === undefined) throw new Error('two masters are needed');
  let [source, target] = slotOf() < 8_192 ? [first, second] : [second, first];
  for (let move = 0; move < MOVES; move++) {
    const comingsBefore = comings;
    isMoving = true;
    await moveSlot(source, target);
    isMoving = false;
    moves++;
    [source, target] = [target, source];
    // between two moves everything works
    while (comings < comingsBefore + 5) await sessions.listUserSessions({ userId: USER });
  }
  done = true;
  await busy;

  expect(refused.otherwise).toEqual([]);
  expect(refused.whileMoving).toBeGreaterThan(0);
  const census = await takeSessionCensus([first.url, second.url], namespace);
  expect(census.problems).toEqual([]);
  expect(census.sessions).toEqual(expect.arrayContaining(players.map(({ sessionId }) => sessionId)));
});
