import type { Lock, RateLimitAlgorithm, ShardkeepClient } from '../../src/client/index.js';
import { GetOrLeaseStatus } from '../../src/gen/shardkeep/cache/v1/cache.js';
import type { SeededRandom } from '../support/seeded-random.js';

/** What earlier operations were given and later ones go on with, by the name of what it is for. */
interface Handles {
  readonly sessions: Map<string, { id: string; token: string; version: number }>;
  readonly locks: Map<string, Lock>;
  readonly leases: Map<string, Buffer>;
  readonly reservations: Map<string, string>;
}

/** One operation on whatever service it is given; answers what does not depend on times and random names. */
type Operation = (client: ShardkeepClient, random: SeededRandom, handles: Handles) => Promise<unknown>;

export function newHandles(): Handles {
  return { sessions: new Map(), locks: new Map(), leases: new Map(), reservations: new Map() };
}

// few of each, so that operations meet
const KEYS = ['a', 'b', 'c'];
/** Written under leases only, but for what fills them. */
const LOADED_KEYS = [...KEYS, 'x', 'y', 'z'];
const USERS = ['anna', 'bo'];
const RESOURCES = ['market', 'inventory'];
const SUBJECTS = ['user:1', 'user:2'];
const ALGORITHMS: readonly RateLimitAlgorithm[] = ['sliding_exact', 'sliding_buckets', 'token_bucket', 'fixed'];
/** Longer than the test takes. */
const LONG_MS = 3_600_000;

const cacheOperations: Readonly<Record<string, Operation>> = {
  set: ({ cache }, random) =>
    cache
      .set(random.pick(KEYS), { n: random.below(100) }, { ttlMs: LONG_MS, tags: [random.pick(['red', 'blue'])] })
      .then(({ stored }) => stored),
  setIfAbsent: ({ cache }, random) =>
    cache.set(random.pick(KEYS), 'first', { ttlMs: LONG_MS, condition: 'absent' }).then(({ stored }) => stored),
  get: ({ cache }, random) => cache.get(random.pick(KEYS)),
  getMany: ({ cache }) => cache.getMany(KEYS),
  getTtl: async ({ cache }, random) => typeof (await cache.getTtl(random.pick(KEYS))),
  touch: ({ cache }, random) => cache.touch(random.pick(KEYS), { ttlMs: LONG_MS }),
  delete: ({ cache }, random) => cache.delete(random.pick(KEYS)),
  invalidateByTag: ({ cache }, random) => cache.invalidateByTag(random.pick(['red', 'blue'])),
  increment: ({ cache }, random) => cache.increment('counter', random.between(-5, 9)),
  addToSet: ({ cache }, random) => cache.addToSet('set', [random.below(9)]).then(({ size }) => size),
  getSetMembers: async ({ cache }) => (await cache.getSetMembers<number>('set')).sort((a, b) => a - b),
  pushToList: ({ cache }, random) => cache.pushToList('list', [random.below(9)], { maxLength: 5 }),
  getList: ({ cache }) => cache.getList('list'),
  getOrLease: async ({ rpc }, random, { leases }) => {
    const key = random.pick(LOADED_KEYS);
    const answer = await rpc.cache.getOrLease({ key, leaseMs: 60_000n });
    if (answer.status === GetOrLeaseStatus.LEASED) leases.set(key, answer.leaseToken);
    return answer.status;
  },
  fill: async ({ rpc }, random, { leases }) => {
    const key = random.pick(LOADED_KEYS);
    const leaseToken = leases.get(key);
    if (leaseToken === undefined) return 'no lease';
    const value = Buffer.from(JSON.stringify({ filled: random.below(100) }));
    return (await rpc.cache.fill({ key, leaseToken, result: { $case: 'value', value } })).status;
  },
};

const sessionOperations: Readonly<Record<string, Operation>> = {
  createSession: async ({ sessions }, random, handles) => {
    const userId = random.pick(USERS);
    const answer = await sessions.createSession({ userId, metadata: { seat: String(random.below(9)) } });
    if (answer.status !== 'created') return answer.status;
    const { session, sessionToken, evictedSessionIds } = answer;
    handles.sessions.set(userId, { id: session.sessionId, token: sessionToken, version: session.version });
    return ['created', session.metadata, evictedSessionIds.length];
  },
  validateSession: async ({ sessions }, random, handles) => {
    const held = handles.sessions.get(random.pick(USERS));
    return held === undefined ? 'none' : (await sessions.validateSession(held.token)).status;
  },
  updateSession: async ({ sessions }, random, handles) => {
    const held = handles.sessions.get(random.pick(USERS));
    if (held === undefined) return 'none';
    const session = await sessions.updateSession(held.id, { metadata: { map: String(random.below(9)) } });
    held.version = session.version;
    return session.metadata;
  },
  extendSession: async ({ sessions }, random, handles) => {
    const held = handles.sessions.get(random.pick(USERS));
    return held === undefined ? 'none' : (await sessions.extendSession(held.id, { ttlMs: LONG_MS })).metadata;
  },
  rotateSession: async ({ sessions }, random, handles) => {
    const held = handles.sessions.get(random.pick(USERS));
    if (held === undefined) return 'none';
    const answer = await sessions.rotateSession(held.token);
    if (answer.status === 'rotated') held.token = answer.sessionToken;
    return answer.status;
  },
  listUserSessions: ({ sessions }, random) =>
    sessions.listUserSessions(random.pick(USERS)).then(({ totalCount }) => totalCount),
  destroySession: async ({ sessions }, random, handles) => {
    const held = handles.sessions.get(random.pick(USERS));
    return held === undefined ? 'none' : sessions.destroySession(held.id, { reason: 'logout' });
  },
  claimCharacter: async ({ sessions }, random, handles) => {
    const userId = random.pick(USERS);
    const held = handles.sessions.get(userId);
    if (held === undefined) return 'none';
    const request = { userId, sessionId: held.id, characterId: `hero-of-${userId}`, policy: 'takeover' } as const;
    return (await sessions.claimCharacter(request)).status;
  },
};

const lockOperations: Readonly<Record<string, Operation>> = {
  acquireLock: async ({ locks }, random, handles) => {
    const resource = random.pick(RESOURCES);
    const answer = await locks.acquireLock(resource, { ttlMs: LONG_MS, owner: 'shard' });
    if (answer.status === 'granted') handles.locks.set(resource, answer.lock);
    return answer.status;
  },
  extendLock: async ({ locks }, random, handles) => {
    const lock = handles.locks.get(random.pick(RESOURCES));
    return lock === undefined ? 'none' : (await locks.extendLock(lock, LONG_MS)).status;
  },
  releaseLock: async ({ locks }, random, handles) => {
    const lock = handles.locks.get(random.pick(RESOURCES));
    return lock === undefined ? 'none' : (await locks.releaseLock(lock)).status;
  },
  checkFencingToken: async ({ locks }, random, handles) => {
    const resource = random.pick(RESOURCES);
    const lock = handles.locks.get(resource);
    if (lock === undefined) return 'none';
    return (await locks.checkFencingToken(resource, lock.fencingToken)).valid;
  },
  forceReleaseLock: async ({ locks }, random) => {
    const answer = await locks.forceReleaseLock(random.pick(RESOURCES), 'test');
    return answer.status === 'released' ? answer.holders.length : answer.status;
  },
  getLock: ({ locks }, random) => locks.getLock(random.pick(RESOURCES)).then(({ holderCount }) => holderCount),
};

const limitOperations: Readonly<Record<string, Operation>> = {
  checkRateLimit: async ({ rateLimits }, random) => {
    const algorithm = random.pick(ALGORITHMS);
    // no window ends within the test, or gives anything back
    const policy = { name: `p-${algorithm}`, algorithm, limit: 7, windowMs: 2_592_000_000 };
    const { allowed, remaining } = await rateLimits.check(random.pick(SUBJECTS), policy, {
      cost: random.between(1, 2),
    });
    return [algorithm, allowed, remaining];
  },
  reserveRateLimit: async ({ rateLimits }, random, handles) => {
    const subject = random.pick(SUBJECTS);
    const policy = { name: 'reserved', algorithm: 'sliding_exact', limit: 20, windowMs: LONG_MS } as const;
    const answer = await rateLimits.reserveRateLimit({ subject, policy, cost: 4 });
    if (answer.status === 'reserved') handles.reservations.set(subject, answer.reservationId);
    return answer.status;
  },
  settleRateLimit: async ({ rateLimits }, random, handles) => {
    const id = handles.reservations.get(random.pick(SUBJECTS));
    return id === undefined ? 'none' : (await rateLimits.settleRateLimit(id, 2)).status;
  },
  refundRateLimit: async ({ rateLimits }, random, handles) => {
    const id = handles.reservations.get(random.pick(SUBJECTS));
    return id === undefined ? 'none' : rateLimits.refundRateLimit(id);
  },
  ban: async ({ rateLimits }, random) => {
    await rateLimits.ban(random.pick(SUBJECTS), LONG_MS);
    return 'banned';
  },
  unban: ({ rateLimits }, random) => rateLimits.unban(random.pick(SUBJECTS)),
};

export const OPERATIONS: Readonly<Record<string, Operation>> = {
  ...cacheOperations,
  ...sessionOperations,
  ...lockOperations,
  ...limitOperations,
};
