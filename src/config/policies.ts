import { z } from 'zod';
import { envoyDomains } from './envoy-domains.js';
import { MAX_TTL_MS, name } from './common-fields.js';
import { PROFILE_DEFAULTS } from './defaults.js';
import { DEFAULT_IPV6_PREFIX } from '../ratelimit/subject.js';
import { ratePolicy } from './rate-policy.js';

/** The schema of the policies file (YAML). Unknown names are errors, so that a misspelling cannot be overlooked. */

/** 10 minutes. */
const MAX_ROTATION_GRACE_MS = 600_000;

const ttlMs = z.int().min(1).max(MAX_TTL_MS);

const bindingPolicy = z.enum(['ignore', 'signal', 'reject']);

const profile = z.strictObject({
  /** A session not touched for so long ends. */
  idle_ttl_ms: ttlMs,
  /** A session ends at this age however active; 0: never. */
  absolute_ttl_ms: z.int().min(0).max(MAX_TTL_MS),
  /** A touch is written only when the last one is older. At most a twentieth of the idle TTL takes effect. */
  touch_granularity_ms: z.int().min(0).max(3_600_000),
  /** How many live sessions a user may have; 0: tracked only, up to 1,000. */
  max_sessions: z.int().min(0).max(1_000),
  /** How many of them on one class of device; a class that is not named is counted in all only. */
  max_sessions_by_device_class: z
    .partialRecord(z.enum(['mobile', 'web', 'desktop', 'console', 'other']), z.int().min(1).max(1_000))
    .default(PROFILE_DEFAULTS.max_sessions_by_device_class),
  /** What CreateSession does at the limit. */
  at_limit: z.enum(['evict_oldest', 'evict_least_recently_active', 'refuse']),
  /** A token must be rotated within so long, or the session ends; 0: never. */
  renewal_ttl_ms: z.int().min(0).max(MAX_TTL_MS).default(PROFILE_DEFAULTS.renewal_ttl_ms),
  /** How long a token that was rotated still works; after that, it was stolen. */
  rotation_grace_ms: z.int().min(0).max(MAX_ROTATION_GRACE_MS).default(PROFILE_DEFAULTS.rotation_grace_ms),
  /** What ValidateSession makes of a client that is not whom the session was created for. */
  binding: z
    .strictObject({
      ip: bindingPolicy.default(PROFILE_DEFAULTS.binding.ip),
      user_agent: bindingPolicy.default(PROFILE_DEFAULTS.binding.user_agent),
      device_id: bindingPolicy.default(PROFILE_DEFAULTS.binding.device_id),
    })
    .default(PROFILE_DEFAULTS.binding),
});

const rpcLimit = z.strictObject({
  /** `package.Service/Method`. */
  rpc: z.string(),
  policy: name,
  /** Each field that is not empty makes one subject `kind:value`; all are checked together, all or nothing. */
  subjects: z
    .array(
      z.strictObject({
        kind: name,
        /** A string field of the request, or `field.key` for an entry of a map. */
        field: z.string(),
      }),
    )
    .min(1)
    .max(16),
});

export const policiesFileSchema = z.strictObject({
  session_profiles: z.record(name, profile).default({}),
  rate_policies: z.record(name, ratePolicy).default({}),
  rpc_limits: z.array(rpcLimit).optional(),
  /** Bits of an IPv6 address that are counted as one subject of the kind `ip`. */
  ipv6_prefix: z.int().min(32).max(128).default(DEFAULT_IPV6_PREFIX),
  envoy_domains: envoyDomains.default({}),
});

export type ProfileSettings = z.output<typeof profile>;
export type { RatePolicySettings } from './rate-policy.js';
export type RpcLimitSettings = z.output<typeof rpcLimit>;
export type PoliciesFile = z.output<typeof policiesFileSchema>;
