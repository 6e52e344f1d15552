import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import calculateSlot from 'cluster-key-slot';
import { createClient, RESP_TYPES } from 'redis';
import { AcquireLockStatus, LockOwnershipStatus } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { Algorithm } from '../../src/gen/shardkeep/ratelimit/v1/ratelimit.js';
import { RotateSessionStatus, ValidateSessionStatus } from '../../src/gen/shardkeep/session/v1/session.js';
import { keys, partitionOfUser } from '../../src/redis/keys.js';
import { failureOf } from '../support/client.js';
import { startCluster, until, type RedisCluster, type RedisServer } from '../support/redis-server.js';
import { beginSlotMove, endSlotMove } from '../support/slot-moves.js';
import { policiesFile, startTestService, type TestService } from '../support/service.js';
import { asOurselves } from '../support/redis-user.js';

/** One slot on its way between two masters, stopped half way. */

const USER = 'player-1';

let cluster: RedisCluster;
let service: TestService;
let source: RedisServer;
let target: RedisServer;
const sessionKeys = () => keys.sessions(service.namespace, partitionOfUser(USER));
const slot = () => calculateSlot(sessionKeys().deadlines);

beforeAll(async () => {
  cluster = await startCluster(2, 0);
  service = await startTestService({
    REDIS_URL: cluster.url,
    POLICIES_FILE: policiesFile({ rpc_limits: [] }),
    MAX_SESSIONS_PER_USER: '5',
    // ends the tries before any deadline does, so that the outcome is not a race
    REDIS_MAX_RETRIES: '10',
    DEFAULT_DEADLINE_MS: '20000',
  });
  const [first, second] = cluster.masters;
  if (first === undefined || second === undefined) throw new Error('two masters are needed');
  [source, target] = slot() < 8_192 ? [first, second] : [second, first];
});
afterAll(async () => {
  await service.stop();
  await cluster.remove();
});

/** Something of the caller's choice whose key lies in the moving slot. */
function inMovingSlot(prefix: string, keyOf: (name: string) => string): string {
  for (let candidate = 0; ; candidate++) {
    const name = `${prefix}${String(candidate)}`;
    if (calculateSlot(keyOf(name)) === slot()) return name;
  }
}

async function keysOn(server: RedisServer): Promise<string[]> {
  const found = await server.command('CLUSTER', 'GETKEYSINSLOT', String(slot()), '1000');
  return (found as unknown[]).map(String);
}

/** Everything in the slot, wherever it is, byte by byte. */
async function dump(): Promise<Record<string, string>> {
  const contents: Record<string, string> = {};
  for (const server of [source, target]) {
    const client = createClient({
      url: asOurselves(server.url),
      commandOptions: { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer } },
    });
    await client.connect();
    for (const key of await keysOn(server)) {
      // ASKING makes the importing side answer for one command
      const [, packed] = await Promise.all([client.sendCommand(['ASKING']), client.sendCommand(['DUMP', key])]);
      contents[key] = Buffer.isBuffer(packed) ? packed.toString('base64') : 'gone';
    }
    client.destroy();
  }
  return contents;
}

async function move(key: string): Promise<void> {
  await source.command('MIGRATE', '127.0.0.1', String(target.port), key, '0', '5000');
}

test('one-key RPCs go on, the others change nothing and end UNAVAILABLE, and all is well after the move', async () => {
  const { sessions, locks, cache, rateLimits, namespace } = service;
  const lockName = inMovingSlot('trade-', (name) => keys.lock(namespace, name));
  const cacheKey = inMovingSlot('profile-', (name) => keys.cache(namespace, name));
  const subject = inMovingSlot('user:', (name) => keys.rateLimit(namespace, name, 'x'));
  const limit = {
    subject,
    policy: {
      $case: 'inlinePolicy' as const,
      value: { name: 'x', algorithm: Algorithm.SLIDING_EXACT, limit: 50, windowMs: 60_000n },
    },
  };
  const logins = [];
  for (let count = 0; count < 3; count++) logins.push(await sessions.createSession({ userId: USER }));
  const [moved, stayed] = logins;
  if (moved?.session === undefined || stayed?.session === undefined) throw new Error('not created');
  const movedId = moved.session.sessionId;
  const stayedId = stayed.session.sessionId;
  await cache.set({ key: cacheKey, value: Buffer.from('old') });

  const slotMove = { slot: slot(), source, target };
  await beginSlotMove(slotMove);
  await move(sessionKeys().sessionPrefix + movedId);
  await move(sessionKeys().userPrefix + USER);
  await move(keys.cache(namespace, cacheKey));

  // one key each, moved, staying or not there yet
  for (const { sessionToken } of [moved, stayed]) {
    expect((await sessions.validateSession({ sessionToken })).status).toBe(ValidateSessionStatus.VALID);
  }
  const incrementMetadata = new Map([['hits', 1n]]);
  const updated = await sessions.updateSession({ sessionId: movedId, incrementMetadata });
  expect(updated.session?.metadata.get('hits')).toBe('1');
  const extended = await sessions.extendSession({ sessionId: movedId, ttlMs: 31_536_000_000n });
  expect(extended.session?.expiresAtMs).toBeGreaterThan(updated.session?.expiresAtMs ?? 0n);
  expect((await cache.get({ key: cacheKey })).entry?.value).toEqual(Buffer.from('old'));
  expect((await cache.set({ key: cacheKey, value: Buffer.from('new') })).stored).toBe(true);
  const grant = await locks.acquireLock({ resources: [lockName] });
  expect(grant.status).toBe(AcquireLockStatus.GRANTED);
  const released = await locks.releaseLock({ resources: [lockName], lockToken: grant.lockToken });
  expect(released.status).toBe(LockOwnershipStatus.DONE);

  // several keys: the record is on one side and the indexes on the other, or the user's index (which the script finds
  // out about only from the record) is
  const before = await dump();
  const calls = [
    () => sessions.createSession({ userId: USER }),
    () => sessions.createSession({ userId: USER, replacesSessionToken: moved.sessionToken }),
    () => sessions.rotateSession({ sessionToken: moved.sessionToken }),
    () => sessions.rotateSession({ sessionToken: stayed.sessionToken }),
    () => sessions.destroySession({ sessionId: movedId }),
    () => sessions.destroySession({ sessionId: stayedId }),
    () => sessions.destroyUserSessions({ userId: USER }),
    // how the subject stands is a key of its own
    () => rateLimits.checkRateLimit({ limits: [limit] }),
  ];
  for (const call of calls) {
    const failure = await failureOf(call());
    expect(failure).toMatchObject({ code: Code.UNAVAILABLE, reason: 'REDIS_UNAVAILABLE' });
  }
  expect(await dump()).toEqual(before);

  for (const key of await keysOn(source)) await move(key);
  await endSlotMove(slotMove, cluster.masters);
  // what could not be told of those changes is told at the latest with the next
  await sessions.updateSession({ sessionId: movedId, incrementMetadata });
  const { counters, events } = sessionKeys();
  await until(async () => {
    const counted = await target.command('HMGET', counters, 'updated', 'extended');
    return String(counted) === '2,1';
  });
  expect(JSON.stringify(await target.command('XREVRANGE', events, '+', '-', 'COUNT', '1'))).toContain('"updated"');
  const rotation = await sessions.rotateSession({ sessionToken: moved.sessionToken });
  expect(rotation.status).toBe(RotateSessionStatus.ROTATED);
  expect((await sessions.destroySession({ sessionId: stayedId })).destroyed).toBe(true);
  expect((await sessions.destroyUserSessions({ userId: USER })).destroyedCount).toBe(2n);
  expect((await cache.get({ key: cacheKey })).entry?.value).toEqual(Buffer.from('new'));
  expect((await rateLimits.checkRateLimit({ limits: [limit] })).allowed).toBe(true);
});
