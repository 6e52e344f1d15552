import { randomUUID } from 'node:crypto';
import { Consistency, GetOrLeaseStatus } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { AcquireLockStatus } from '../../src/gen/shardkeep/lock/v1/lock.js';
import {
  CreateSessionStatus,
  RotateSessionStatus,
  ValidateSessionStatus,
} from '../../src/gen/shardkeep/session/v1/session.js';
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
import { limitsOperation, serviceChecks, spend } from './limits.js';
import type { Operation } from './load-loop.js';
import type { LoadPlan, WorkloadName } from './protocol.js';
import { connectService, type ServiceClient } from './service-client.js';

/** What a process asks of the service. */

interface PlayerSession {
  sessionToken: string;
  readonly sessionId: string;
}

interface Fixtures {
  readonly keys: readonly string[];
  readonly value: Buffer;
  readonly sessions: readonly PlayerSession[];
  /** Keys and sessions that are there for one operation each. */
  readonly stockedKeys: string[];
  readonly stockedSessions: PlayerSession[];
}

/** Of the entries that `getTagged` reads. */
const READ_TAG = 'guild:7';
const LEASE_MS = 5_000n;
const SESSION_WORKLOADS: readonly WorkloadName[] = [
  'validateSession',
  'getSession',
  'updateSession',
  'rotateSession',
  'mixed',
];

export async function openService(plan: LoadPlan): Promise<Target> {
  const clients = Array.from({ length: plan.connections }, () => connectService(plan.address, plan.target));
  const [first] = clients;
  if (first === undefined) throw new Error('a load process needs a connection');
  const fixtures = await prepare(first, plan);
  if (plan.limits !== undefined) await spend(serviceChecks(first), plan.limits);
  return {
    operations: clients.map((client) => operationsOf(client, fixtures, plan)[plan.workload]),
    stock: async (count) => {
      if (plan.workload === 'delete') await stockKeys(first, fixtures, count);
      if (plan.workload === 'destroySession') await stockSessions(first, fixtures, plan, count);
    },
  };
}

async function prepare(client: ServiceClient, plan: LoadPlan): Promise<Fixtures> {
  const tagged = plan.workload === 'getTagged';
  const keys = cacheKeys(plan.keyCount).map((key) => (tagged ? `tagged:${key}` : key));
  const value = valueOf(plan.valueBytes);
  const tags = tagged ? [READ_TAG] : [];
  if (plan.keysExist !== true) await forEachOf(keys, (key) => setKey(client, key, value, tags));
  const sessions: PlayerSession[] = [];
  if (SESSION_WORKLOADS.includes(plan.workload)) {
    await forEachOf(Array.from({ length: SESSION_COUNT }), async () => {
      sessions.push(await createSession(client, plan));
    });
  }
  return { keys, value, sessions, stockedKeys: [], stockedSessions: [] };
}

async function stockKeys(client: ServiceClient, { stockedKeys, value }: Fixtures, count: number): Promise<void> {
  const keys = Array.from({ length: count }, () => `temp:${randomUUID()}`);
  await forEachOf(keys, (key) => setKey(client, key, value));
  stockedKeys.push(...keys);
}

async function stockSessions(
  client: ServiceClient,
  { stockedSessions }: Fixtures,
  plan: LoadPlan,
  count: number,
): Promise<void> {
  await forEachOf(Array.from({ length: count }), async () => {
    stockedSessions.push(await createSession(client, plan));
  });
}

function setKey(client: ServiceClient, key: string, value: Buffer, tags: string[] = []): Promise<unknown> {
  return client.cache.set({ key, value, expiry: { $case: 'ttlMs', value: BigInt(CACHE_TTL_MS) }, tags });
}

/** For a user of its own, as most users have one session. */
async function createSession(client: ServiceClient, { profile = '' }: LoadPlan): Promise<PlayerSession> {
  const { username, roles, permissions, characterId, metadata } = PLAYER;
  const { status, session, sessionToken } = await client.sessions.createSession({
    userId: randomUUID(),
    profile,
    username,
    roles: [...roles],
    permissions: [...permissions],
    characterId,
    metadata: new Map(Object.entries(metadata)),
  });
  if (status !== CreateSessionStatus.CREATED || session === undefined) throw new Error('no session was created');
  return { sessionToken, sessionId: session.sessionId };
}

function operationsOf(
  client: ServiceClient,
  fixtures: Fixtures,
  plan: LoadPlan,
): Readonly<Record<WorkloadName, Operation>> {
  const { keys, value, sessions } = fixtures;
  const { cache, rateLimits, locks } = client;

  const validateSession = async (): Promise<void> => {
    const { status } = await client.sessions.validateSession({ sessionToken: pick(sessions).sessionToken });
    if (status !== ValidateSessionStatus.VALID) throw new Error('a session is missing');
  };
  const get = async (): Promise<void> => {
    const { entry } = await cache.get({ key: pick(keys) });
    if (entry === undefined) throw new Error('a key is missing');
  };
  const getNear = async (): Promise<void> => {
    const { entry } = await cache.get({ key: pick(keys), consistency: Consistency.NEAR });
    if (entry === undefined) throw new Error('a key is missing');
  };
  const getOrLease = async (): Promise<void> => {
    const { status } = await cache.getOrLease({ key: pick(keys), leaseMs: LEASE_MS });
    if (status !== GetOrLeaseStatus.HIT) throw new Error('a key is missing');
  };
  const set = (): Promise<unknown> => setKey(client, pick(keys), value);
  const limitRefusals = new Refusals('limits of the service');
  const checkRateLimit = async (): Promise<void> => {
    const subject = `user:${Math.floor(Math.random() * SUBJECT_COUNT)}`;
    const policy = { $case: 'policyName', value: 'movement' } as const;
    const { allowed } = await rateLimits.checkRateLimit({ limits: [{ subject, policy }] });
    limitRefusals.count(allowed);
  };
  const lockRefusals = new Refusals('locks of the service');
  const lock = async (): Promise<void> => {
    const resources = [`item:${Math.floor(Math.random() * RESOURCE_COUNT)}`];
    const { status, lockToken } = await locks.acquireLock({ resources, ttlMs: BigInt(LOCK_TTL_MS) });
    if (status === AcquireLockStatus.GRANTED) await locks.releaseLock({ resources, lockToken });
    lockRefusals.count(status === AcquireLockStatus.GRANTED);
  };

  return {
    get,
    // what differs is the entries
    getTagged: get,
    getNear,
    getOrLease,
    set,
    delete: () => cache.delete({ keys: [taken(fixtures.stockedKeys)] }),
    getTtl: () => cache.getTtl({ keys: [pick(keys)] }),
    exists: () => cache.exists({ keys: [pick(keys)] }),
    validateSession,
    createSession: () => createSession(client, plan),
    getSession: () => client.sessions.getSession({ sessionId: pick(sessions).sessionId }),
    updateSession: () =>
      client.sessions.updateSession({
        sessionId: pick(sessions).sessionId,
        fields: { ...EMPTY_FIELDS, characterId: `character-${Math.floor(Math.random() * RESOURCE_COUNT)}` },
        updateMask: ['character_id'],
      }),
    rotateSession: async () => {
      const session = pick(sessions);
      const { status, sessionToken } = await client.sessions.rotateSession({ sessionToken: session.sessionToken });
      if (status !== RotateSessionStatus.ROTATED) throw new Error('a session is missing');
      session.sessionToken = sessionToken;
    },
    destroySession: () =>
      client.sessions.destroySession({ sessionId: taken(fixtures.stockedSessions).sessionId, reason: 'logout' }),
    checkRateLimit,
    limits: limitsOperation(serviceChecks(client), plan.limits),
    lock,
    mixed: mixed({ validate: validateSession, get, set, limit: checkRateLimit, lock }),
  };
}

const EMPTY_FIELDS = {
  username: '',
  roles: [],
  permissions: [],
  organizationId: '',
  characterId: '',
  metadata: new Map<string, string>(),
};

function taken<Item>(stock: Item[]): Item {
  const item = stock.pop();
  if (item === undefined) throw new Error('the stock is used up');
  return item;
}
