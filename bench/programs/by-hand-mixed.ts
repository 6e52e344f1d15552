import { randomUUID } from 'node:crypto';
import { RedisStore } from 'connect-redis';
import { RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible';
import { createClient, RESP_TYPES } from 'redis';
import Redlock, { ExecutionError } from 'redlock';
import {
  CACHE_TTL_MS,
  cacheKeys,
  forEachOf,
  LOCK_TTL_MS,
  mixed,
  pick,
  PLAYER,
  RESOURCE_COUNT,
  Refusals,
  SESSION_COUNT,
  SUBJECT_COUNT,
  valueOf,
  type Target,
} from './fixtures.js';
import type { LoadPlan } from './protocol.js';

/**
 * The game server that does without the service: sessions by connect-redis, limits by rate-limiter-flexible, locks by
 * redlock, the cache by node-redis itself, all over one connection at its best settings. It does less than the service
 * does (a session here has no limit, no revocation and no hashed secret, a lock no fencing token, a window is fixed), and
 * a lock that is held is given up at once, on both sides.
 */
export async function openMixedByHand(plan: LoadPlan): Promise<Target> {
  const path = plan.address.slice('unix:'.length);
  const client = createClient({
    socket: { path, tls: false },
    disableOfflineQueue: true,
    maintNotifications: 'disabled',
    disableClientInfo: true,
    commandOptions: { timeout: 0 },
  });
  await client
    .on('error', (error: Error) => {
      throw error;
    })
    .connect();
  const bytes = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
  const sessions = new RedisStore({ client, prefix: 'hand:session:', ttl: CACHE_TTL_MS / 1_000 });
  // the policy `movement` of the service
  const limiter = new RateLimiterRedis({
    storeClient: client,
    useRedisPackage: true,
    keyPrefix: 'hand:limit',
    points: 30,
    duration: 1,
  });
  const send = (command: string, source: string, keyCount: number, args: readonly (string | number)[]) =>
    client.sendCommand([command, source, String(keyCount), ...args.map(String)]);
  const adapter = {
    evalsha: (sha1: string, keyCount: number, args: readonly (string | number)[]) =>
      send('EVALSHA', sha1, keyCount, args),
    eval: (script: string, keyCount: number, args: readonly (string | number)[]) =>
      send('EVAL', script, keyCount, args),
  };
  const locks = new Redlock([adapter], { retryCount: 0 }).on('error', () => undefined);

  const keys = cacheKeys(plan.keyCount).map((key) => `hand:${key}`);
  const value = valueOf(plan.valueBytes);
  const expiration = { type: 'PX', value: CACHE_TTL_MS } as const;
  const users = Array.from({ length: SESSION_COUNT }, () => randomUUID());
  await forEachOf(keys, (key) => client.set(key, value, { expiration }));
  await forEachOf(users, (user) => sessions.set(user, { userId: user, ...PLAYER }));

  const limits = new Refusals('limits by hand');
  const acquisitions = new Refusals('locks by hand');

  const operation = mixed({
    validate: async () => {
      const user = pick(users);
      const session = await sessions.get(user);
      if (session === null) throw new Error('a session is missing');
      await sessions.touch(user, session);
    },
    get: async () => {
      if ((await bytes.get(pick(keys))) === null) throw new Error('a key is missing');
    },
    set: () => client.set(pick(keys), value, { expiration }),
    limit: async () => {
      try {
        await limiter.consume(`user:${Math.floor(Math.random() * SUBJECT_COUNT)}`, 1);
        limits.count(true);
      } catch (refusal) {
        if (!(refusal instanceof RateLimiterRes)) throw refusal;
        limits.count(false);
      }
    },
    lock: async () => {
      const resource = `hand:lock:${Math.floor(Math.random() * RESOURCE_COUNT)}`;
      try {
        const lock = await locks.acquire([resource], LOCK_TTL_MS);
        await lock.release();
        acquisitions.count(true);
      } catch (refusal) {
        if (!(refusal instanceof ExecutionError)) throw refusal;
        acquisitions.count(false);
      }
    },
  });
  return { operations: [operation] };
}
