import type { Series } from './promtool.js';

/** Of each alert: what makes it fire, and what comes close and does not. */

export interface AlertCase {
  readonly fires: Series;
  readonly silent: Series;
}

/** An hour of samples; looked at before they end, and later than any alert waits. */
const SAMPLES = 120;
export const LOOK_AT_MINUTES = 40;

function gauge(value: number): string {
  return `${String(value)}+0x${String(SAMPLES)}`;
}

function counter(aSecond: number): string {
  return `0+${String(aSecond * 30)}x${String(SAMPLES)}`;
}

/** Nothing happens until shortly before the look: an increase of `by`. */
function jump(by: number): string {
  return `0+0x77 ${String(by)}+0x${String(SAMPLES)}`;
}

const GET = 'rpc="shardkeep.cache.v1.CacheService/Get"';
const CREATE = 'rpc="shardkeep.session.v1.SessionService/CreateSession"';
const WAITING = 'rpc="shardkeep.lock.v1.LockService/AcquireLock"';

function handled(rpc: string, code: string): string {
  return `shardkeep_rpc_handled_total{${rpc},code="${code}"}`;
}

/** So many calls a second that take so long each. */
function durations(rpc: string, seconds: number, calls = 10): Series {
  const buckets = [0.001, 0.01, 0.05, 0.1, 1].map((le) => [
    `shardkeep_rpc_duration_seconds_bucket{${rpc},le="${String(le)}"}`,
    counter(seconds <= le ? calls : 0),
  ]);
  return {
    ...(Object.fromEntries(buckets) as Series),
    [`shardkeep_rpc_duration_seconds_bucket{${rpc},le="+Inf"}`]: counter(calls),
    [`shardkeep_rpc_duration_seconds_count{${rpc}}`]: counter(calls),
    [`shardkeep_rpc_duration_seconds_sum{${rpc}}`]: counter(calls * seconds),
  };
}

function eventAges(youngerThan5: number, older: number): Series {
  return {
    'shardkeep_session_event_age_seconds_bucket{le="1"}': counter(youngerThan5),
    'shardkeep_session_event_age_seconds_bucket{le="5"}': counter(youngerThan5),
    'shardkeep_session_event_age_seconds_bucket{le="10"}': counter(youngerThan5 + older),
    'shardkeep_session_event_age_seconds_bucket{le="+Inf"}': counter(youngerThan5 + older),
  };
}

function ofOne(name: string, fires: string, silent: string): AlertCase {
  return { fires: { [name]: fires }, silent: { [name]: silent } };
}

export const ALERT_CASES: Readonly<Record<string, AlertCase>> = {
  // the other cases all have the metric
  ShardkeepAbsent: { fires: { shardkeep_build_info: '_x120' }, silent: {} },
  ShardkeepNotServing: {
    fires: { 'shardkeep_health_serving{service="readiness"}': gauge(0), shardkeep_draining: gauge(0) },
    silent: { 'shardkeep_health_serving{service="readiness"}': gauge(0), shardkeep_draining: gauge(1) },
  },
  ShardkeepCrashLoop: ofOne('shardkeep_process_start_time_seconds', '1000+30x120', '1000+0x60 2000+0x10 3000+0x50'),
  ShardkeepResponseTime: {
    fires: durations(GET, 0.02),
    silent: { ...durations(GET, 0.009), ...durations(WAITING, 0.9) },
  },
  ShardkeepResponseTimeP99: {
    fires: { ...durations(GET, 0.0004), ...durations('rpc="shardkeep.cache.v1.CacheService/Set"', 0.06, 0.3) },
    silent: { ...durations(GET, 0.0004), ...durations(WAITING, 0.06) },
  },
  ShardkeepInternalErrors: ofOne('shardkeep_rpc_errors_total{reason="INTERNAL"}', jump(1), gauge(7)),
  ShardkeepRejectedCalls: {
    fires: { 'shardkeep_rpc_rejected_total{reason="overload"}': counter(1.1), [handled(GET, 'OK')]: counter(100) },
    silent: {
      'shardkeep_rpc_rejected_total{reason="overload"}': counter(0.9),
      'shardkeep_rpc_rejected_total{reason="draining"}': counter(5),
      [handled(GET, 'OK')]: counter(100),
    },
  },
  ShardkeepNearLimit: {
    fires: { shardkeep_rpc_parked: gauge(81), shardkeep_rpc_parked_max: gauge(100) },
    silent: { shardkeep_rpc_in_flight: gauge(80), shardkeep_rpc_in_flight_max: gauge(100) },
  },
  ShardkeepCallersRefused: ofOne(handled(CREATE, 'UNAUTHENTICATED'), counter(2), counter(0.9)),
  ShardkeepEventLoopDelay: ofOne('shardkeep_process_event_loop_delay_p99_seconds', gauge(0.2), gauge(0.09)),
  ShardkeepProcessMemoryHigh: {
    fires: {
      shardkeep_process_resident_memory_bytes: gauge(210e6),
      shardkeep_process_memory_limit_bytes: gauge(256e6),
    },
    silent: {
      shardkeep_process_resident_memory_bytes: gauge(200e6),
      shardkeep_process_memory_limit_bytes: gauge(256e6),
      shardkeep_process_heap_used_bytes: gauge(70e6),
      shardkeep_process_heap_limit_bytes: gauge(192e6),
    },
  },
  ShardkeepOpenFilesHigh: {
    fires: { shardkeep_process_open_fds: gauge(900), shardkeep_process_max_fds: gauge(1_024) },
    silent: { shardkeep_process_open_fds: gauge(800), shardkeep_process_max_fds: gauge(1_024) },
  },
  ShardkeepPoliciesRefused: ofOne('shardkeep_policies_refused', gauge(1), gauge(0)),
  ShardkeepCredentialsRefused: ofOne('shardkeep_credentials_refused', gauge(1), gauge(0)),
  ShardkeepCertificateExpires: ofOne(
    'shardkeep_tls_certificate_expires_timestamp_seconds',
    gauge(6 * 86_400),
    gauge(8 * 86_400),
  ),
  ShardkeepRedisDown: {
    fires: { 'shardkeep_redis_up{role="state"}': gauge(0), 'shardkeep_redis_up{role="cache"}': gauge(1) },
    silent: { 'shardkeep_redis_up{role="state"}': gauge(1), 'shardkeep_redis_up{role="cache"}': gauge(1) },
  },
  ShardkeepRedisReconnects: ofOne('shardkeep_redis_reconnects_total{role="cache"}', jump(8), jump(4)),
  ShardkeepRedisCircuitOpen: ofOne('shardkeep_redis_circuit_open{role="cache"}', gauge(1), gauge(0)),
  ShardkeepRedisAccessDenied: {
    fires: { 'shardkeep_redis_errors_total{role="state",error="NOPERM"}': jump(1) },
    silent: { 'shardkeep_redis_errors_total{role="state",error="WRONGTYPE"}': jump(9) },
  },
  ShardkeepRedisOutOfMemory: ofOne('shardkeep_redis_errors_total{role="state",error="OOM"}', jump(1), gauge(5)),
  ShardkeepRedisMemoryHigh: {
    fires: { 'shardkeep_redis_memory_used_ratio{role="state"}': gauge(0.81) },
    // a cache is full most of the time
    silent: {
      'shardkeep_redis_memory_used_ratio{role="state"}': gauge(0.79),
      'shardkeep_redis_memory_used_ratio{role="cache"}': gauge(1),
    },
  },
  ShardkeepEvictionPolicyWrong: ofOne('shardkeep_redis_eviction_policy_wrong{role="state"}', gauge(1), gauge(0)),
  ShardkeepStateEvicted: {
    fires: { 'shardkeep_redis_evicted_keys_total{role="limit"}': jump(1) },
    silent: { 'shardkeep_redis_evicted_keys_total{role="cache"}': counter(0.5) },
  },
  ShardkeepEvictionRateHigh: {
    fires: {
      'shardkeep_redis_evicted_keys_total{role="cache"}': counter(11),
      'shardkeep_cache_lookups_total{namespace="a",result="hit",from="master"}': counter(100),
    },
    silent: {
      'shardkeep_redis_evicted_keys_total{role="cache"}': counter(9),
      'shardkeep_cache_lookups_total{namespace="a",result="hit",from="master"}': counter(100),
    },
  },
  ShardkeepRedisSlowOperations: ofOne('shardkeep_redis_slow_operations_total{script="set"}', jump(20), jump(8)),
  ShardkeepScriptReloads: ofOne('shardkeep_redis_script_reloads_total{role="cache"}', jump(20), jump(8)),
  ShardkeepCacheErrorRate: {
    fires: { [handled(GET, 'OK')]: counter(98), [handled(GET, 'UNAVAILABLE')]: counter(2) },
    silent: {
      [handled(GET, 'OK')]: counter(99.5),
      [handled(GET, 'UNAVAILABLE')]: counter(0.5),
      [handled(CREATE, 'NOT_FOUND')]: counter(9),
    },
  },
  ShardkeepCacheHitRatio: {
    fires: {
      'shardkeep_cache_lookups_total{namespace="a",result="hit",from="master"}': counter(94),
      'shardkeep_cache_lookups_total{namespace="a",result="miss",from="master"}': counter(6),
    },
    silent: {
      'shardkeep_cache_lookups_total{namespace="a",result="hit",from="near"}': counter(92),
      'shardkeep_cache_lookups_total{namespace="a",result="stale",from="master"}': counter(4),
      'shardkeep_cache_lookups_total{namespace="a",result="miss",from="master"}': counter(4),
    },
  },
  ShardkeepSessionCreationFailures: {
    fires: { [handled(CREATE, 'OK')]: counter(98), [handled(CREATE, 'INTERNAL')]: counter(2) },
    // the caller's mistake, and the policy of the RPC
    silent: {
      [handled(CREATE, 'OK')]: counter(90),
      [handled(CREATE, 'INVALID_ARGUMENT')]: counter(5),
      [handled(CREATE, 'RESOURCE_EXHAUSTED')]: counter(5),
    },
  },
  ShardkeepTtlExtensionRate: {
    fires: {
      'shardkeep_session_extensions_total{namespace="a"}': counter(4),
      'shardkeep_session_active{namespace="a"}': gauge(100),
    },
    silent: {
      'shardkeep_session_extensions_total{namespace="a"}': counter(3),
      'shardkeep_session_active{namespace="a"}': gauge(100),
    },
  },
  ShardkeepSweepLag: ofOne('shardkeep_session_sweep_lag_seconds', gauge(11), gauge(9)),
  ShardkeepSessionEventsLate: { fires: eventAges(90, 10), silent: eventAges(99.5, 0.5) },
  ShardkeepForeignTokens: ofOne('shardkeep_session_foreign_tokens_total{kind="unknown"}', counter(1.1), counter(0.9)),
  ShardkeepFencingRejected: ofOne('shardkeep_rpc_errors_total{reason="OLD_FENCING_TOKEN"}', jump(1), gauge(3)),
  ShardkeepLocksLost: {
    fires: {
      'shardkeep_lock_lost_total{namespace="a"}': counter(0.6),
      'shardkeep_lock_acquire_total{namespace="a",result="granted"}': counter(10),
    },
    silent: {
      'shardkeep_lock_lost_total{namespace="a"}': counter(0.4),
      'shardkeep_lock_acquire_total{namespace="a",result="granted"}': counter(10),
      'shardkeep_lock_acquire_total{namespace="a",result="held"}': counter(90),
    },
  },
  ShardkeepLockClockSkew: {
    fires: { 'shardkeep_lock_quorum_answers_total{master="1",answer="clock_skew"}': jump(1) },
    silent: { 'shardkeep_lock_quorum_answers_total{master="1",answer="failed"}': counter(1) },
  },
  ShardkeepRateLimitsOpen: {
    fires: { 'shardkeep_ratelimit_degraded_total{namespace="a",policy="chat",mode="allow"}': counter(1) },
    silent: { 'shardkeep_ratelimit_degraded_total{namespace="a",policy="chat",mode="deny"}': counter(1) },
  },
};

/** Days of samples, one every ten minutes: what is usual has to be known first. */
export const SLOW_CASES: Readonly<Record<string, AlertCase>> = {
  ShardkeepSessionDurationAnomaly: {
    fires: {
      'shardkeep_session_lifetimes_total{namespace="a"}': '0+10x400',
      'shardkeep_session_lifetime_seconds_total{namespace="a"}': '0+12000x300 3600000+1200x100',
    },
    silent: {
      'shardkeep_session_lifetimes_total{namespace="a"}': '0+10x400',
      'shardkeep_session_lifetime_seconds_total{namespace="a"}': '0+12000x300 3600000+6000x100',
    },
  },
};
export const SLOW_SAMPLE_SECONDS = 600;
export const SLOW_LOOK_AT_MINUTES = 3_120;
