import { CacheServiceService } from '../gen/shardkeep/cache/v1/cache.js';
import { LockServiceService } from '../gen/shardkeep/lock/v1/lock.js';
import { RateLimitServiceService } from '../gen/shardkeep/ratelimit/v1/ratelimit.js';
import { SessionServiceService } from '../gen/shardkeep/session/v1/session.js';
import { readerOf } from '../ratelimit/request-field.js';
import { DEFAULT_IPV6_PREFIX } from '../ratelimit/subject.js';
import { ConfigError } from './config-error.js';
import { checkEnvoyDomains, type EnvoyDomainSettings } from './envoy-domains.js';
import type { FileCopy } from './file-copy.js';
import { parsePoliciesFile, readPoliciesFile } from './policies-file.js';
import type { PoliciesFile, ProfileSettings, RpcLimitSettings } from './policies.js';
import { ALL, type RatePolicySettings } from './rate-policy.js';
import { SHIPPED_RATE_POLICIES, SHIPPED_RPC_LIMITS, shippedProfiles } from './shipped-policies.js';
import type { Complain } from './yaml-file.js';

/** What the service goes by: what ships, with what the policies file puts in its place. */
export interface ServedPolicies {
  readonly profiles: Readonly<Record<string, ProfileSettings>>;
  readonly ratePolicies: Readonly<Record<string, RatePolicySettings>>;
  readonly rpcLimits: readonly RpcLimitSettings[];
  /** Bits of an IPv6 address that are counted as one subject. */
  readonly ipv6Prefix: number;
  readonly envoyDomains: EnvoyDomainSettings;
}

/** What the environment says of the shipped profiles. */
export interface SessionDefaults {
  readonly idleTtlMs: number;
  readonly maxSessions: number;
}

interface Method {
  readonly path: string;
  readonly requestDeserialize: (bytes: Buffer) => unknown;
}

/** A request without any field set, of every RPC that can have limits. */
const EMPTY_REQUESTS: ReadonlyMap<string, unknown> = new Map(
  [CacheServiceService, LockServiceService, RateLimitServiceService, SessionServiceService].flatMap(
    (service: Readonly<Record<string, Method>>) =>
      Object.values(service).map(({ path, requestDeserialize }) => [
        path.slice(1),
        requestDeserialize(Buffer.alloc(0)),
      ]),
  ),
);

/** The policies file. */
export class PoliciesSource {
  private constructor(
    readonly path: string,
    /** What was in it, or in the copy. */
    readonly text: string,
    private readonly sessionDefaults: SessionDefaults,
    /** What came into force last. */
    readonly copy: FileCopy | undefined,
    readonly isCopied: boolean,
  ) {}

  /**
   * Throws ConfigError for a file that cannot be used. `copy`: what is taken in its place; whoever watches the file then
   * finds that it is another.
   */
  static read(path: string, sessionDefaults: SessionDefaults, copy?: FileCopy): PoliciesSource {
    try {
      const source = new PoliciesSource(path, readPoliciesFile(path), sessionDefaults, copy, false);
      source.parse(source.text);
      return source;
    } catch (error) {
      if (copy === undefined || !(error instanceof ConfigError)) throw error;
      return new PoliciesSource(path, readPoliciesFile(copy.path), sessionDefaults, copy, true);
    }
  }

  /** Throws ConfigError naming everything that is wrong, with the file and the line. */
  parse(text: string): ServedPolicies {
    return servedPolicies(parsePoliciesFile(this.path, text, checkNames), this.sessionDefaults);
  }
}

export function servedPolicies(file: PoliciesFile | undefined, sessionDefaults: SessionDefaults): ServedPolicies {
  return {
    profiles: { ...shippedProfiles(sessionDefaults), ...file?.session_profiles },
    ratePolicies: { ...SHIPPED_RATE_POLICIES, ...file?.rate_policies },
    rpcLimits: file?.rpc_limits ?? SHIPPED_RPC_LIMITS,
    ipv6Prefix: file?.ipv6_prefix ?? DEFAULT_IPV6_PREFIX,
    envoyDomains: file?.envoy_domains ?? {},
  };
}

/** A limit that could never act would go unseen. */
function checkNames(file: PoliciesFile, complain: Complain): void {
  checkRpcLimits(file, complain);
  const policies: Readonly<Record<string, RatePolicySettings>> = { ...SHIPPED_RATE_POLICIES, ...file.rate_policies };
  const problemOf = (name: string): string | undefined => {
    const policy = Object.hasOwn(policies, name) ? policies[name] : undefined;
    if (policy === undefined) return 'no rate policy has this name';
    if ('limits' in policy) return 'is a policy of several limits, and a descriptor has one subject';
    return policy.algorithm === 'concurrency' ? 'counts slots, which proxies do not give back' : undefined;
  };
  checkEnvoyDomains(file.envoy_domains, problemOf, (at, message) => {
    complain([...at], message);
  });
}

function checkRpcLimits({ rate_policies, rpc_limits }: PoliciesFile, complain: Complain): void {
  const policies: Readonly<Record<string, RatePolicySettings>> = { ...SHIPPED_RATE_POLICIES, ...rate_policies };
  const rpcLimits: readonly RpcLimitSettings[] = rpc_limits ?? SHIPPED_RPC_LIMITS;
  rpcLimits.forEach(({ rpc, policy: policyName, subjects }, index) => {
    const policy = Object.hasOwn(policies, policyName) ? policies[policyName] : undefined;
    if (policy === undefined) complain(['rpc_limits', index, 'policy'], 'no rate policy has this name');
    const request = EMPTY_REQUESTS.get(rpc);
    if (request === undefined) complain(['rpc_limits', index, 'rpc'], 'no RPC has this name');
    subjects.forEach(({ kind, field }, at) => {
      const place = ['rpc_limits', index, 'subjects', at];
      if (request !== undefined && readerOf(field, request) === undefined) {
        complain([...place, 'field'], 'no string or map entry of the request');
      }
      if (policy !== undefined && !hasLimitFor(kind, policy)) {
        complain([...place, 'kind'], 'the policy has no limit for this kind');
      }
    });
  });
}

function hasLimitFor(kind: string, policy: RatePolicySettings): boolean {
  return !('limits' in policy) || (kind !== ALL && policy.limits.some(({ per }) => per === kind));
}
