import { encodePageToken } from '../../src/cache/page-token.js';
import { encodeListToken, type ListScope } from '../../src/redis/list-token.js';
import {
  bytes,
  credential,
  enumeration,
  INT64_MAX,
  integer,
  list,
  map,
  onlyTrue,
  text,
  textOrEmpty,
  type Bad,
  type Row,
} from './bad-values.js';

/** For every field and oneof of every request what is wrong in it, by the comments of the proto. */

const YEAR_MS = 31_536_000_000n;
const HOUR_MS = 3_600_000n;

const key = text(1, 512);
const keys = list(key, { min: 1, max: 256 });
const distinctKeys = list(key, { min: 1, max: 256, unique: true });
const ttlMs = integer(1n, YEAR_MS);
const noExpiry = [onlyTrue, { what: 'true for temp:', value: true, beside: { key: 'temp:x' } }];
const optionalGroup: Row = { right: 'none of its fields set means the documented default' };
const nested: Row = { right: 'its own fields have rows' };

const tags = list(text(1, 128), { min: 0, max: 32, unique: true });
const loadMs = integer(1n, 600_000n);
const leaseToken = [0, 23, 25].map((length) => ({ what: `${String(length)} bytes`, value: Buffer.alloc(length, 1) }));
// unspecified is the documented default
const consistency = enumeration.filter(({ value }) => value !== 0);
/** Of members and items. */
function byteList(minBytes: number): Bad[] {
  return list(bytes(minBytes, 65_536), { min: 1, max: 256, item: (index) => Buffer.from(`item-${String(index)}`) });
}

/** The token that a page of the key would end with, made wrong. */
const pageToken: Bad[] = [
  ...textOrEmpty(0, 16_384),
  ...['x', 'A'.repeat(80), '===='].map((value) => ({ what: value, value })),
  ...Object.entries({
    'of another key': encodePageToken('other', `${'a'.repeat(40)}:7::`),
    'without its beginning': encodePageToken('set', `${'a'.repeat(40)}:7::`).slice(4),
    'with a cursor past 64 bits': encodePageToken('set', `${'a'.repeat(40)}:18446744073709551616::`),
    'with half a digest': encodePageToken('set', `${'a'.repeat(40)}:7::${'b'.repeat(60)}`),
    'of half a process': encodePageToken('set', `${'a'.repeat(39)}:7::`),
    'with a cursor below zero': encodePageToken('set', `${'a'.repeat(40)}:-7::`),
    padded: `${encodePageToken('set', `${'a'.repeat(40)}:7::`)}=`,
    'with a line break': `${encodePageToken('set', `${'a'.repeat(40)}:7::`)}\n`,
  }).map(([what, value]) => ({ what, value })),
];
const sizeLimit = integer(1n, 1_000_000n, 32);
const answerLimit = integer(1n, 1_000n, 32);
const bothMean: Row = { right: 'both values mean something' };

const cache: Record<string, Row> = {
  'GetRequest.key': key,
  'GetRequest.consistency': consistency,
  'GetManyRequest.keys': keys,
  'GetManyRequest.consistency': consistency,
  'SetRequest.key': key,
  'SetRequest.value': bytes(0, 1_048_576),
  'SetRequest.expiry': optionalGroup,
  'SetRequest.ttl_ms': ttlMs,
  'SetRequest.no_expiry': noExpiry,
  'SetRequest.condition': optionalGroup,
  'SetRequest.if_absent': [onlyTrue],
  'SetRequest.if_present': [onlyTrue],
  'SetRequest.if_version': integer(1n, BigInt(INT64_MAX)),
  'SetRequest.freshness': nested,
  'SetRequest.tags': tags,
  'SetRequest.jitter_percent': integer(0n, 90n, 32),
  'SetRequest.guard': nested,
  'Freshness.fresh_ms': ttlMs,
  'Freshness.stale_ms': [
    ...integer(0n, YEAR_MS),
    { what: 'a year beside fresh_ms', value: String(YEAR_MS), beside: { fresh_ms: '1' } },
  ],
  'Guard.resource': text(1, 512),
  'Guard.fencing_token': integer(1n, 9_007_199_254_740_991n),
  'SetManyRequest.entries': [
    { what: 'empty', value: [] },
    { what: 'too many', value: Array.from({ length: 257 }, (_, index) => ({ key: String(index) })) },
  ],
  'DeleteRequest.keys': distinctKeys,
  'DeleteRequest.guard': [
    { what: 'with two keys', value: { resource: 'r', fencing_token: '1' }, beside: { keys: ['a', 'b'] } },
  ],
  'ExistsRequest.keys': keys,
  'TouchRequest.keys': distinctKeys,
  'TouchRequest.expiry': optionalGroup,
  'TouchRequest.ttl_ms': ttlMs,
  'TouchRequest.no_expiry': [onlyTrue, { what: 'true for temp:', value: true, beside: { keys: ['a', 'temp:x'] } }],
  'GetTtlRequest.keys': keys,
  'IncrementRequest.key': key,
  'IncrementRequest.delta': { right: 'the whole signed 64-bit range may be added' },
  'IncrementRequest.expiry': optionalGroup,
  'IncrementRequest.ttl_ms': ttlMs,
  'IncrementRequest.no_expiry': noExpiry,
  'IncrementRequest.floor': [{ what: 'above ceiling', value: '8', beside: { ceiling: '7' } }],
  'IncrementRequest.request_id': [...textOrEmpty(16, 128)],
  'IncrementRequest.guard': nested,
  'GetOrLeaseRequest.key': key,
  'GetOrLeaseRequest.lease_ms': loadMs,
  'GetOrLeaseRequest.wait_ms': integer(0n, 60_000n),
  'GetOrLeaseRequest.early': { right: 'none of its fields set means no early load' },
  'GetOrLeaseRequest.early_fraction': [0, 1, -0.5, 2, Number.NaN].map((value) => ({ what: String(value), value })),
  'GetOrLeaseRequest.early_beta': [0, 100.5, -1, Number.NaN, Infinity].map((value) => ({ what: String(value), value })),
  'FillRequest.key': key,
  'FillRequest.lease_token': leaseToken,
  'FillRequest.result': [{ what: 'none of its fields set', value: undefined }],
  'FillRequest.value': bytes(0, 1_048_576),
  'FillRequest.absent': [onlyTrue],
  'FillRequest.not_modified': [onlyTrue],
  'FillRequest.expiry': optionalGroup,
  'FillRequest.ttl_ms': ttlMs,
  'FillRequest.no_expiry': noExpiry,
  'FillRequest.freshness': nested,
  'FillRequest.tags': tags,
  'FillRequest.jitter_percent': integer(0n, 90n, 32),
  'FillRequest.guard': nested,
  'RenewLeaseRequest.key': key,
  'RenewLeaseRequest.lease_token': leaseToken,
  'RenewLeaseRequest.lease_ms': loadMs,
  'FailLeaseRequest.key': key,
  'FailLeaseRequest.lease_token': leaseToken,
  'FailLeaseRequest.retry_after_ms': integer(0n, 600_000n),
  'InvalidateTagsRequest.tags': list(text(1, 128), { min: 1, max: 256, unique: true }),
  'InvalidateTagsRequest.mode': [{ what: 'unknown', value: 99 }],
  'DeletePatternRequest.pattern': text(1, 512, 'a[bc]', 'a[', 'a]', 'a\\', '\\', 'a*\\\\\\'),
  'DeletePatternRequest.allow_all': { right: 'both values mean something' },
  'DeletePatternRequest.dry_run': { right: 'both values mean something' },
  'WatchRequest.cursor': bytes(0, 64),
  'WatchRequest.add_keys': list(text(1, 512), { min: 0, max: 1_024, unique: true }),
  'WatchRequest.add_prefixes': list(text(1, 512), { min: 0, max: 256, unique: true }),
  'WatchRequest.add_tags': list(text(1, 128), { min: 0, max: 1_024, unique: true }),
  'WatchRequest.remove_keys': list(text(1, 512), { min: 0, max: 1_024, unique: true }),
  'WatchRequest.remove_prefixes': list(text(1, 512), { min: 0, max: 256, unique: true }),
  'WatchRequest.remove_tags': list(text(1, 128), { min: 0, max: 1_024, unique: true }),
  'WatchRequest.add_evictions': { right: 'both values mean something' },
  'IncrementRequest.ceiling': { right: 'the whole signed 64-bit range; below floor it is floor that is named' },
  'AddToSetRequest.key': key,
  'AddToSetRequest.members': byteList(1),
  'AddToSetRequest.expiry': optionalGroup,
  'AddToSetRequest.ttl_ms': ttlMs,
  'AddToSetRequest.no_expiry': noExpiry,
  'AddToSetRequest.refresh_expiry': bothMean,
  'AddToSetRequest.max_members': sizeLimit,
  'RemoveFromSetRequest.key': key,
  'RemoveFromSetRequest.members': byteList(1),
  'GetSetMembersRequest.key': key,
  'GetSetMembersRequest.page_size': answerLimit,
  'GetSetMembersRequest.page_token': pageToken,
  'PushToListRequest.key': key,
  'PushToListRequest.side': enumeration,
  'PushToListRequest.items': byteList(0),
  'PushToListRequest.expiry': optionalGroup,
  'PushToListRequest.ttl_ms': ttlMs,
  'PushToListRequest.no_expiry': noExpiry,
  'PushToListRequest.refresh_expiry': bothMean,
  'PushToListRequest.max_length': sizeLimit,
  'GetListRequest.key': key,
  'GetListRequest.side': enumeration,
  'GetListRequest.offset': integer(0n, 4_294_967_295n),
  'GetListRequest.limit': answerLimit,
  'GetCacheStatsRequest.minutes': integer(0n, 60n, 32),
  'GetCacheStatsRequest.hot_key_limit': integer(0n, 100n, 32),
};

const name = text(0, 128);
const userId = text(1, 128);
const characterId = text(1, 128);
const epoch = integer(1n, 9_007_199_254_740_991n);
const roles = list(text(1, 128), { min: 0, max: 64 });
const permissions = list(text(1, 128), { min: 0, max: 256 });
const metadataKey = text(1, 64, 'Key', 'a b', 'a:b', 'a/b', 'ü', 'a\n');
const metadata = map(metadataKey, text(0, 512), { max: 32, value: 'x' });
// 18 and 32 bytes in base64url; partition 0
const SESSION_ID = 'A'.repeat(24);
const sessionId: Bad[] = [
  ...credential(SESSION_ID),
  { what: 'of a partition that does not exist', value: '_'.repeat(24) },
];
const sessionToken: Bad[] = [
  ...credential(`${SESSION_ID}.${'A'.repeat(43)}`),
  { what: 'only the id', value: SESSION_ID },
  { what: 'without dot', value: 'A'.repeat(68) },
  { what: 'another spelling of a secret', value: `${SESSION_ID}.${'A'.repeat(42)}B` },
];
const reason = text(0, 64);
const playerMessage = text(0, 256);
const announcedMs = integer(1n, 86_400_000n);

const session: Record<string, Row> = {
  'CreateSessionRequest.user_id': userId,
  'CreateSessionRequest.username': name,
  'CreateSessionRequest.roles': roles,
  'CreateSessionRequest.permissions': permissions,
  'CreateSessionRequest.organization_id': name,
  'CreateSessionRequest.character_id': name,
  'CreateSessionRequest.metadata': metadata,
  'CreateSessionRequest.profile': text(0, 32, 'nowhere', 'Default', '__proto__', 'constructor'),
  'CreateSessionRequest.idle_ttl_ms': ttlMs,
  'CreateSessionRequest.authenticated_at_ms': integer(1n, BigInt(INT64_MAX)),
  'CreateSessionRequest.request_id': textOrEmpty(22, 128),
  'CreateSessionRequest.replaces_session_token': sessionToken.filter(({ value }) => value !== ''),
  'CreateSessionRequest.evict_session_ids': list(sessionId, {
    ...{ min: 0, max: 100, unique: true },
    item: (index) => SESSION_ID.slice(0, 20) + String(index).padStart(4, 'A'),
  }),
  'ValidateSessionRequest.session_token': sessionToken,
  'ValidateSessionRequest.client': { right: 'absent means that nothing is compared; its own fields have rows' },
  'ValidateSessionRequest.max_auth_age_ms': integer(0n, YEAR_MS),
  'SessionClient.ip': [
    ...text(0, 64),
    { what: 'an address with a port', value: '198.51.100.7:1234' },
    { what: 'no address', value: 'garbage' },
    { what: 'a network', value: '10.0.0.0/8' },
  ],
  'SessionClient.user_agent': text(0, 512),
  'SessionClient.device_id': text(0, 512),
  'RotateSessionRequest.session_token': sessionToken,
  'RotateSessionRequest.reauthenticated': bothMean,
  'RotateSessionRequest.client': { right: 'absent means that nothing is compared; its own fields have rows' },
  'GetSessionRequest.session_id': sessionId,
  'UpdateSessionRequest.session_id': sessionId,
  'UpdateSessionRequest.fields': [{ what: 'absent though the mask names one', value: undefined }],
  'UpdateSessionRequest.update_mask': { right: 'absent or empty means that no field is written' },
  'UpdateSessionRequest.remove_metadata_keys': list(metadataKey, { min: 0, max: 32 }),
  'UpdateSessionRequest.increment_metadata': map(metadataKey, [], { max: 32, value: '1' }),
  'UpdateSessionRequest.expected_version': integer(1n, BigInt(INT64_MAX)),
  'UpdateSessionRequest.no_touch': { right: 'both values mean something' },
  'UpdateSessionRequest.guard': nested,
  'SessionGuard.resource': text(1, 512),
  'SessionGuard.fencing_token': integer(1n, 9_007_199_254_740_991n),
  'SessionFields.username': name,
  'SessionFields.roles': roles,
  'SessionFields.permissions': permissions,
  'SessionFields.organization_id': name,
  'SessionFields.character_id': name,
  'SessionFields.metadata': metadata,
  'ExtendSessionRequest.session_id': sessionId,
  'ExtendSessionRequest.ttl_ms': ttlMs,
  'DestroySessionRequest.session_id': sessionId,
  'DestroySessionRequest.reason': reason,
  'DestroySessionRequest.message': playerMessage,
  'DestroySessionRequest.effective_in_ms': announcedMs,
  'DestroyUserSessionsRequest.user_id': userId,
  'DestroyUserSessionsRequest.reason': reason,
  'DestroyUserSessionsRequest.message': playerMessage,
  'DestroyUserSessionsRequest.keep_session_id': sessionId.filter(({ value }) => value !== ''),
  'DestroyUserSessionsRequest.block_for_ms': ttlMs,
  'DestroyUserSessionsRequest.effective_in_ms': announcedMs,
  'ClaimCharacterRequest.user_id': userId,
  'ClaimCharacterRequest.character_id': characterId,
  'ClaimCharacterRequest.session_id': sessionId,
  'ClaimCharacterRequest.owner': name,
  // unspecified is the documented default
  'ClaimCharacterRequest.policy': enumeration.filter(({ value }) => value !== 0),
  'ClaimCharacterRequest.drain_ms': [
    ...integer(1n, 600_000n),
    { what: 'absent with TAKEOVER_AFTER_DRAIN', value: undefined },
    ...[0, 1, 2].map((policy) => ({ what: `with policy ${String(policy)}`, value: '1', beside: { policy } })),
  ],
  'ReleaseCharacterRequest.user_id': userId,
  'ReleaseCharacterRequest.character_id': characterId,
  'ReleaseCharacterRequest.epoch': epoch,
  'GetCharacterClaimRequest.user_id': userId,
  'GetCharacterClaimRequest.character_id': characterId,
  'CheckCharacterClaimRequest.user_id': userId,
  'CheckCharacterClaimRequest.character_id': characterId,
  'CheckCharacterClaimRequest.epoch': epoch,
  'DestroyAllSessionsRequest.reason': reason,
  'DestroyAllSessionsRequest.message': playerMessage,
  'ListUserSessionsRequest.user_id': userId,
  'ListUserSessionsRequest.limit': integer(1n, 1_000n, 32),
  'WatchSessionsRequest.user_ids': [
    ...list(text(1, 128), { min: 0, max: 256 }),
    { what: 'empty beside nothing else', value: [], beside: { session_ids: [], all: false } },
  ],
  'WatchSessionsRequest.session_ids': list(sessionId, { min: 0, max: 256, item: () => SESSION_ID }),
  'WatchSessionsRequest.all': bothMean,
  'WatchSessionsRequest.cursor': bytes(0, 16_384),
};

const fieldMask: Record<string, Row> = {
  'FieldMask.paths': ['user_id', 'session_id', 'version', 'metadata.ip', '', '*', 'Username'].map((path) => ({
    what: JSON.stringify(path),
    value: ['username', path],
    at: '[1]',
  })),
};

const resources = list(text(1, 512), { min: 1, max: 16, unique: true });
const lockToken = credential('A'.repeat(32)).filter(({ what }) => what !== 'another spelling of a secret');
const leaseMs = integer(1n, HOUR_MS);

// of whatever namespace: a right one would have to be of the service's
function listTokens(of: ListScope['of']): Bad[] {
  const place = { scan: { done: [], run: 'a'.repeat(16), cursor: '7' }, listed: [] };
  const token = encodeListToken({ of, namespace: 'elsewhere', prefix: '' }, place);
  return [
    { what: 'of another namespace', value: token },
    { what: 'half a one', value: token.subarray(3) },
    { what: 'not ours', value: Buffer.from('x') },
    { what: 'too long', value: Buffer.alloc(65_537, 'a') },
  ];
}

const lockOperations: Record<string, Row> = {
  'ListLocksRequest.prefix': textOrEmpty(0, 512),
  'ListLocksRequest.page_size': integer(0n, 1_000n, 32),
  'ListLocksRequest.page_token': listTokens('locks'),
  'WatchLocksRequest.resources': [
    ...list(text(1, 512), { min: 0, max: 100, unique: true }),
    { what: 'none, and no prefix', value: [], beside: { prefix: '' } },
  ],
  'WatchLocksRequest.prefix': textOrEmpty(0, 512),
  'ForceReleaseLockRequest.resource': text(1, 512),
  'ForceReleaseLockRequest.reason': text(1, 256),
  'ForceReleaseLockRequest.expected_fencing_token': integer(0n, BigInt(INT64_MAX)),
  'ForceReleaseLockRequest.after_leases': bothMean,
  'GetLockStatsRequest.hottest_count': integer(0n, 100n, 32),
};

const lock: Record<string, Row> = {
  'AcquireLockRequest.resources': resources,
  'AcquireLockRequest.ttl_ms': leaseMs,
  'AcquireLockRequest.owner': name,
  'AcquireLockRequest.request_id': textOrEmpty(16, 128),
  'AcquireLockRequest.wait_ms': integer(0n, 60_000n),
  'AcquireLockRequest.permits': integer(0n, 1_000_000n, 32),
  'AcquireLockRequest.capacity': [
    ...integer(0n, 1_000_000n, 32),
    { what: 'with all permits', value: 5, beside: { permits: 0 } },
  ],
  'AcquireLockRequest.reentrant': bothMean,
  'ReleaseLockRequest.resources': resources,
  'ReleaseLockRequest.lock_token': lockToken,
  'ExtendLockRequest.resources': resources,
  'ExtendLockRequest.lock_token': lockToken,
  'ExtendLockRequest.ttl_ms': leaseMs,
  'GetLockRequest.resource': text(1, 512),
  'CheckFencingTokenRequest.resource': text(1, 512),
  'CheckFencingTokenRequest.fencing_token': integer(1n, BigInt(INT64_MAX)),
  'HoldLocksRequest.id': integer(1n, BigInt(INT64_MAX)),
  'HoldLocksRequest.action': [{ what: 'absent', value: undefined }],
  'HoldLocksRequest.acquire': [
    { what: 'of no lock', value: {}, at: '.lock' },
    { what: 'for less than a stream renews', value: { lock: { resources: ['a'], ttl_ms: '499' } }, at: '.lock.ttl_ms' },
    {
      what: 'of more permits than there are',
      value: { lock: { resources: ['a'], permits: 2, capacity: 1 } },
      at: '.lock.permits',
    },
  ],
  'HoldLocksRequest.release': nested,
  'HoldLocksRequest.renew': nested,
  'HoldLocksRequest.cancel': nested,
  'HoldLocksRenew.lock_token': lockToken,
  'HoldLocksAcquire.caller_renews': bothMean,
  'HoldLocksAcquire.lock': [{ what: 'absent', value: undefined }],
  'HoldLocksAcquire.disconnect_grace_ms': integer(0n, 60_000n),
  'HoldLocksAcquire.lock_delay_ms': integer(0n, 60_000n),
  ...lockOperations,
};

const policyName = text(1, 32, 'Chat', 'a b', 'a:b', 'a.b', '{a}', 'ü', 'chat\n');
const limitOf = (subject: string): unknown => ({ subject, policy_name: 'chat' });
const limits: Bad[] = [
  { what: 'none', value: [] },
  { what: 'one too many', value: Array.from({ length: 17 }, (_, index) => limitOf(String(index))) },
  { what: 'the same subject and policy twice', value: ['a', 'b', 'a'].map(limitOf), at: '[2]' },
];
const cost = [
  ...integer(1n, 64n, 32),
  { what: 'above the smallest limit', value: 6, beside: { limits: [limitOf('a'), inlineLimit(5)] } },
];

function inlineLimit(limit: number): unknown {
  return { subject: 'b', inline_policy: { name: 'five', algorithm: 1, limit, window_ms: '1000' } };
}

const minCost = [
  ...integer(1n, 64n, 32),
  { what: 'above the cost', value: 3, beside: { cost: 2 } },
  {
    what: 'beside a cost of one limit',
    value: 1,
    beside: { cost: 2, limits: [{ subject: 'a', policy_name: 'chat', cost: 1 }] },
  },
];
const unknownPolicies = text(1, 32, 'nowhere', '__proto__', 'constructor');
const subject = text(1, 256);
const requestId = textOrEmpty(16, 128);
const reservationId = text(1, 512, 'a b', 'a.b', 'YQ==', 'ü');
const slots = (algorithm: number, windowMs: string): unknown => ({
  subject: 'b',
  inline_policy: { name: 'slots', algorithm, limit: 5, window_ms: windowMs },
});

const rateLimit: Record<string, Row> = {
  'CheckRateLimitRequest.limits': limits,
  'CheckRateLimitRequest.cost': cost,
  'CheckRateLimitRequest.min_cost': minCost,
  'CheckRateLimitRequest.charge_denied': bothMean,
  'CheckRateLimitRequest.request_id': requestId,
  'CheckRateLimitRequest.want_headers': bothMean,
  'CheckManyRateLimitsRequest.checks': [
    { what: 'none', value: [] },
    { what: 'one too many', value: Array.from({ length: 101 }, () => ({ limits: [limitOf('a')] })) },
    { what: 'one of no limit', value: [{ limits: [limitOf('a')] }, {}], at: '[1].limits' },
  ],
  'Check.limits': limits,
  'Check.cost': cost,
  'Check.min_cost': minCost,
  'PeekRateLimitRequest.limits': limits,
  'PeekRateLimitRequest.cost': cost,
  'PeekRateLimitRequest.want_headers': bothMean,
  'ReserveRateLimitRequest.limits': limits,
  'ReserveRateLimitRequest.cost': cost,
  'ReserveRateLimitRequest.min_cost': minCost,
  'ReserveRateLimitRequest.charge_denied': bothMean,
  'ReserveRateLimitRequest.request_id': requestId,
  'ReserveRateLimitRequest.want_headers': bothMean,
  'ReserveRateLimitRequest.ttl_ms': integer(0n, 86_400_000n),
  'SettleRateLimitRequest.reservation_id': reservationId,
  'SettleRateLimitRequest.cost': integer(0n, 64n, 32),
  'RefundRateLimitRequest.reservation_id': reservationId,
  'ResetRateLimitRequest.limits': limits,
  'OverrideRateLimitRequest.subject': subject,
  'OverrideRateLimitRequest.policy_name': [...policyName, ...unknownPolicies],
  'OverrideRateLimitRequest.limit': [
    ...integer(0n, 1_000_000_000n, 32),
    { what: 'above what a ring holds', value: 8_193, beside: { policy_name: 'chat' } },
    { what: 'too small for the burst', value: 1, beside: { policy_name: 'bucket' } },
  ],
  'OverrideRateLimitRequest.ttl_ms': ttlMs,
  'BanRequest.subject': subject,
  'BanRequest.policy_name': [...policyName, ...unknownPolicies].filter(({ value }) => value !== ''),
  'BanRequest.ttl_ms': ttlMs,
  'BanRequest.reason': textOrEmpty(0, 256),
  'UnbanRequest.subject': subject,
  'UnbanRequest.policy_name': policyName.filter(({ value }) => value !== ''),
  'ListBansRequest.subject_prefix': textOrEmpty(0, 256),
  'ListBansRequest.page_size': integer(0n, 1_000n, 32),
  'ListBansRequest.page_token': listTokens('bans'),
  'HoldConcurrencyRequest.limits': [
    ...limits,
    { what: 'of another algorithm', value: [slots(6, '500'), limitOf('a')], at: '[1].policy_name' },
    { what: 'of another algorithm inline', value: [slots(4, '500')], at: '[0].inline_policy.algorithm' },
    { what: 'for less than a stream renews', value: [slots(6, '499')], at: '[0].inline_policy.window_ms' },
  ],
  'HoldConcurrencyRequest.cost': cost,
  'Limit.subject': subject,
  'Limit.policy': [{ what: 'absent', value: undefined }],
  'Limit.policy_name': [...policyName, ...unknownPolicies],
  'Limit.inline_policy': nested,
  'Limit.cost': integer(1n, 64n, 32),
  'Limit.role': policyName,
  'Limit.subjects': [{ what: 'beside a subject', value: { by_kind: { ip: '::1' } } }],
  'Subjects.by_kind': map(policyName, text(1, 256), { max: 16, value: 'x' }),
  'GetRateLimitStatsRequest.hottest_count': integer(0n, 100n, 32),
  'InlinePolicy.name': policyName,
  'InlinePolicy.algorithm': [...enumeration, { what: 'CALENDAR', value: 5 }],
  'InlinePolicy.limit': integer(1n, 8_192n, 32),
  'InlinePolicy.window_ms': integer(10n, 2_592_000_000n),
  'InlinePolicy.burst': [
    ...integer(1n, 1_000_000_000n, 32).map((bad) => ({ ...bad, beside: { algorithm: 3 } })),
    { what: 'for another algorithm', value: 5, beside: { algorithm: 4 } },
    {
      what: 'back in more than 142 years',
      value: 1_738,
      beside: { algorithm: 3, limit: 1, window_ms: '2592000000' },
    },
  ],
};

const entry = (index: number): unknown => ({ key: `key-${String(index)}`, value: 'x' });
const many = (count: number, of: (index: number) => unknown): unknown[] =>
  Array.from({ length: count }, (_, at) => of(at));
const anyUnits: Row = { right: 'more units than a limit has are never admitted' };

const envoy: Record<string, Row> = {
  'RateLimitRequest.domain': text(1, 256),
  'RateLimitRequest.descriptors': [
    { what: 'none', value: [] },
    { what: 'one too many', value: many(17, (index) => ({ entries: [entry(index)] })) },
    { what: 'one without entries', value: [{ entries: [entry(0)] }, {}], at: '[1].entries' },
  ],
  'RateLimitRequest.hits_addend': anyUnits,
  'RateLimitDescriptor.entries': [
    { what: 'none', value: [] },
    { what: 'one too many', value: many(17, entry) },
  ],
  'RateLimitDescriptor.limit': nested,
  'RateLimitDescriptor.hits_addend': nested,
  'RateLimitDescriptor.Entry.key': text(1, 256),
  'RateLimitDescriptor.Entry.value': {
    right: 'clients of a proxy choose it, and are not let pass for what they choose',
  },
  'RateLimitDescriptor.RateLimitOverride.requests_per_unit': [{ what: 'too large', value: 1_000_000_001 }],
  'RateLimitDescriptor.RateLimitOverride.unit': [...enumeration, { what: 'YEAR', value: 6 }],
};

function within(packageName: string, rows: Record<string, Row>): [string, Row][] {
  return Object.entries(rows).map(([field, row]) => [`${packageName}.${field}`, row]);
}

/** By `package.Message.field`. */
export const rows: ReadonlyMap<string, Row> = new Map([
  ...within('shardkeep.cache.v1', cache),
  ...within('shardkeep.session.v1', session),
  ...within('google.protobuf', fieldMask),
  ...within('shardkeep.lock.v1', lock),
  ...within('shardkeep.ratelimit.v1', rateLimit),
  ...within('envoy.service.ratelimit.v3', envoy),
  ['google.protobuf.UInt64Value.value', anyUnits],
]);
