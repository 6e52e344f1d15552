import { randomUUID } from 'node:crypto';
import type { TestService } from '../support/service.js';
import type { Plain } from '../support/proto.js';

/** A right request of every RPC, with every nested message in it, and what it needs to succeed. */

export interface Fixture {
  readonly userId: string;
  readonly sessionId: string;
  readonly sessionToken: string;
  readonly resource: string;
  readonly lockToken: string;
}

export async function createFixture({ sessions, locks }: TestService): Promise<Fixture> {
  const userId = `user-${randomUUID()}`;
  const { session, sessionToken } = await sessions.createSession({ userId });
  const resource = `resource-${randomUUID()}`;
  const { lockToken } = await locks.acquireLock({ resources: [resource], ttlMs: 600_000n });
  return { userId, sessionId: session?.sessionId ?? '', sessionToken, resource, lockToken };
}

type Requests = Readonly<Record<string, (fixture: Fixture) => Plain>>;

/** Of one subject each: a call leaves nothing that another would be answered for. */
const limits = (): Plain[] => [
  // nothing they write runs out while what is there is compared
  { subject: 'user:1', inline_policy: { name: 'burst', algorithm: 1, limit: 100, window_ms: '600000' } },
  { subject: `user:${randomUUID()}`, policy_name: 'api' },
];

const guard = { resource: 'door', fencing_token: '9007199254740991' };
const freshness = { fresh_ms: '600000', stale_ms: '1000' };
const details = { freshness, tags: ['tag'], jitter_percent: 10, guard };
const items = [Buffer.from('ada'), Buffer.from('bob')];

const cache: Requests = {
  Get: () => ({ key: 'key', consistency: 2 }),
  GetMany: () => ({ keys: ['a', 'b'], consistency: 2 }),
  Set: () => ({ key: 'key', value: Buffer.from('value'), ...details }),
  SetMany: () => ({
    entries: [
      { key: randomUUID(), value: Buffer.from('a'), ...details },
      { key: randomUUID(), value: Buffer.from('b'), ttl_ms: '600000' },
    ],
  }),
  Delete: () => ({ keys: ['a'], guard }),
  Exists: () => ({ keys: ['a', 'b'] }),
  Touch: () => ({ keys: ['a', 'b'], ttl_ms: '600000' }),
  GetTtl: () => ({ keys: ['a', 'b'] }),
  Increment: () => ({
    key: 'counter',
    delta: '1',
    floor: '-7',
    ceiling: '70',
    request_id: randomUUID(),
    ttl_ms: '600000',
    guard,
  }),
  GetOrLease: () => ({ key: randomUUID(), lease_ms: '600000', wait_ms: '1', early_fraction: 0.9 }),
  Fill: () => ({ key: 'key', lease_token: Buffer.alloc(24, 1), value: Buffer.from('value'), ...details }),
  RenewLease: () => ({ key: 'key', lease_token: Buffer.alloc(24, 1), lease_ms: '600000' }),
  FailLease: () => ({ key: 'key', lease_token: Buffer.alloc(24, 1), retry_after_ms: '100' }),
  InvalidateTags: () => ({ tags: ['a', 'b'], mode: 2 }),
  DeletePattern: () => ({ pattern: 'no-such:*', dry_run: true }),
  Watch: () => ({ cursor: Buffer.alloc(16), add_keys: ['key'], add_prefixes: ['no-such:'], add_tags: ['a'] }),
  AddToSet: () => ({ key: 'set', members: items, ttl_ms: '600000', refresh_expiry: true, max_members: 7 }),
  RemoveFromSet: () => ({ key: 'set', members: [Buffer.from('ada')] }),
  GetSetMembers: () => ({ key: 'set', page_size: 10 }),
  PushToList: () => ({ key: 'list', side: 1, items, ttl_ms: '600000', refresh_expiry: true, max_length: 7 }),
  GetList: () => ({ key: 'list', side: 2, offset: '1', limit: 10 }),
  GetCacheStats: () => ({ minutes: 1, hot_key_limit: 10 }),
};

const client = { ip: '::1', user_agent: 'agent', device_id: 'device' };

const session: Requests = {
  CreateSession: ({ userId }) => ({
    ...{ user_id: userId, username: 'Ari', roles: ['player'], metadata: { ip: '::1' }, request_id: randomUUID() },
    // of no session that is there
    ...{ replaces_session_token: `${'A'.repeat(24)}.${'A'.repeat(43)}`, evict_session_ids: ['A'.repeat(24)] },
  }),
  ValidateSession: ({ sessionToken }) => ({ session_token: sessionToken, client, max_auth_age_ms: '600000' }),
  RotateSession: ({ sessionToken }) => ({ session_token: sessionToken, reauthenticated: true, client }),
  GetSession: ({ sessionId }) => ({ session_id: sessionId }),
  UpdateSession: ({ sessionId }) => ({
    session_id: sessionId,
    fields: { username: 'Bea', metadata: { level: '7' } },
    update_mask: { paths: ['username', 'metadata'] },
    increment_metadata: { level: '1' },
    guard,
  }),
  ExtendSession: ({ sessionId }) => ({ session_id: sessionId, ttl_ms: '600000' }),
  DestroySession: ({ sessionId }) => ({ session_id: sessionId, reason: 'logout', message: 'Bye' }),
  DestroyUserSessions: ({ userId, sessionId }) => ({ user_id: userId, keep_session_id: sessionId }),
  ClaimCharacter: ({ userId, sessionId }) => ({
    ...{ user_id: userId, character_id: 'char-1', session_id: sessionId, owner: 'shard-1' },
    ...{ policy: 3, drain_ms: '30000' },
  }),
  ReleaseCharacter: ({ userId }) => ({ user_id: userId, character_id: 'char-1', epoch: '9007199254740991' }),
  GetCharacterClaim: ({ userId }) => ({ user_id: userId, character_id: 'char-1' }),
  CheckCharacterClaim: ({ userId }) => ({ user_id: userId, character_id: 'char-1', epoch: '9007199254740991' }),
  DestroyAllSessions: () => ({ reason: 'leak', message: 'Please log in again' }),
  GetSessionStats: () => ({}),
  CleanupExpiredSessions: () => ({}),
  ListUserSessions: ({ userId }) => ({ user_id: userId, limit: 10 }),
  WatchSessions: ({ userId, sessionId }) => ({
    user_ids: [userId, 'another'],
    session_ids: [sessionId],
    cursor: Buffer.alloc(64),
  }),
};

const lock: Requests = {
  AcquireLock: () => ({
    ...{ resources: [randomUUID(), randomUUID()], ttl_ms: '600000', owner: 'shard-1', request_id: randomUUID() },
    ...{ wait_ms: '1000', permits: 1, capacity: 5, reentrant: true },
  }),
  ReleaseLock: ({ resource, lockToken }) => ({ resources: [resource], lock_token: lockToken }),
  ExtendLock: ({ resource, lockToken }) => ({ resources: [resource], lock_token: lockToken, ttl_ms: '600000' }),
  GetLock: ({ resource }) => ({ resource }),
  CheckFencingToken: ({ resource }) => ({ resource, fencing_token: '1' }),
  HoldLocks: () => ({
    id: '1',
    acquire: {
      lock: { resources: [randomUUID()], ttl_ms: '600000', owner: 'shard-1', request_id: randomUUID() },
      disconnect_grace_ms: '0',
      lock_delay_ms: '0',
    },
  }),
  ListLocks: () => ({ prefix: 'resource-', page_size: 10 }),
  WatchLocks: ({ resource }) => ({ resources: [resource], prefix: 'no-such:' }),
  ForceReleaseLock: () => ({ resource: randomUUID(), reason: 'stuck', expected_fencing_token: '9007199254740991' }),
  CleanupExpiredLocks: () => ({}),
  GetLockStats: () => ({ hottest_count: 10 }),
};

const rateLimit: Requests = {
  CheckRateLimit: () => ({ limits: limits(), cost: 2 }),
  CheckManyRateLimits: () => ({ checks: [{ limits: limits(), cost: 2, min_cost: 1 }, { limits: limits() }] }),
  PeekRateLimit: () => ({ limits: limits(), cost: 2 }),
  ReserveRateLimit: () => ({ limits: limits(), cost: 2, request_id: randomUUID(), ttl_ms: '600000' }),
  // of none that is there
  SettleRateLimit: () => ({ reservation_id: 'A'.repeat(40), cost: 2 }),
  RefundRateLimit: () => ({ reservation_id: 'A'.repeat(40) }),
  ResetRateLimit: () => ({ limits: limits() }),
  OverrideRateLimit: () => ({ subject: randomUUID(), policy_name: 'chat', limit: 20, ttl_ms: '600000' }),
  Ban: () => ({ subject: randomUUID(), policy_name: 'chat', ttl_ms: '600000', reason: 'spam' }),
  Unban: () => ({ subject: randomUUID(), policy_name: 'chat' }),
  ListBans: () => ({ subject_prefix: 'user:', page_size: 10 }),
  HoldConcurrency: () => ({
    limits: [{ subject: 'user:1', inline_policy: { name: 'slots', algorithm: 6, limit: 100, window_ms: '60000' } }],
    cost: 2,
  }),
  ListPolicies: () => ({}),
  GetRateLimitStats: () => ({ hottest_count: 10 }),
};

const envoy: Requests = {
  ShouldRateLimit: () => ({
    domain: 'edge',
    descriptors: [
      {
        entries: [{ key: 'path', value: '/login' }],
        // by the day: what it writes outlives the tests that look for what was written
        limit: { requests_per_unit: 100, unit: 4 },
        hits_addend: { value: 2 },
      },
      { entries: [{ key: 'remote_address', value: '203.0.113.7' }] },
    ],
    hits_addend: 1,
  }),
};

const services: Readonly<Record<string, Requests>> = {
  'envoy.service.ratelimit.v3.RateLimitService': envoy,
  'shardkeep.cache.v1.CacheService': cache,
  'shardkeep.session.v1.SessionService': session,
  'shardkeep.lock.v1.LockService': lock,
  'shardkeep.ratelimit.v1.RateLimitService': rateLimit,
};

export const goodRequests: Requests = Object.fromEntries(
  Object.entries(services).flatMap(([service, requests]) =>
    Object.entries(requests).map(([method, request]) => [`${service}/${method}`, request]),
  ),
);

const bySubjects = (): Plain[] => [{ subjects: { by_kind: { ip: '203.0.113.7' } }, policy_name: 'chat' }];
const ofLimits = ['CheckRateLimit', 'PeekRateLimit', 'ReserveRateLimit', 'ResetRateLimit', 'HoldConcurrency'];

/** Requests with the other messages of a oneof or field, by the RPC and the path of the message. */
const otherForms: Requests = {
  ...Object.fromEntries(
    ofLimits.map((rpc) => [
      `shardkeep.ratelimit.v1.RateLimitService/${rpc} limits[0].subjects`,
      () => ({ limits: bySubjects() }),
    ]),
  ),
  'shardkeep.ratelimit.v1.RateLimitService/CheckManyRateLimits checks[0].limits[0].subjects': () => ({
    checks: [{ limits: bySubjects() }],
  }),
  'shardkeep.lock.v1.LockService/HoldLocks release': ({ resource, lockToken }) => ({
    id: '1',
    release: { resources: [resource], lock_token: lockToken },
  }),
  'shardkeep.lock.v1.LockService/HoldLocks renew': ({ lockToken }) => ({ id: '1', renew: { lock_token: lockToken } }),
};

/** One that has the message at `prefix`. */
export function goodRequestFor(rpc: string, fixture: Fixture, prefix = ''): Plain {
  const [form = ''] = prefix.split('.');
  const make = otherForms[`${rpc} ${prefix.slice(0, -1)}`] ?? otherForms[`${rpc} ${form}`] ?? goodRequests[rpc];
  if (make === undefined) throw new Error(`no good request for ${rpc}`);
  return make(fixture);
}
