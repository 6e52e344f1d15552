import type { RpcLimitSettings } from '../config/policies.js';
import { DomainError } from '../errors.js';
import type { Call } from '../redis/call.js';
import type { RatePolicies } from './policies.js';
import type { LimitTerms, RateLimitStore } from './store.js';

export interface RpcGateOptions {
  readonly store: RateLimitStore;
  readonly policies: RatePolicies;
  readonly rpcLimits: readonly RpcLimitSettings[];
}

/** Charges a call to the rate policies of its RPC; undefined where it has none. Throws RATE_LIMITED. */
export type RpcGate = (rpc: string, request: unknown, call: Call) => Promise<void> | undefined;

/** The rate policies of RPCs: who is limited stands in the request's own fields. */
export function createRpcGate({ store, policies, rpcLimits }: RpcGateOptions): RpcGate {
  const byRpc = new Map<string, RpcLimitSettings[]>();
  for (const limit of rpcLimits) byRpc.set(limit.rpc, [...(byRpc.get(limit.rpc) ?? []), limit]);

  return (rpc, request, call) => {
    const limits = byRpc.get(rpc)?.flatMap(({ policy, subjects }) => termsOf(policies, policy, subjects, request));
    return limits === undefined || limits.length === 0 ? undefined : charge(store, limits, call);
  };
}

async function charge(store: RateLimitStore, limits: readonly LimitTerms[], call: Call): Promise<void> {
  const decision = await store.checkRateLimit(limits, 1, call);
  if (decision.allowed) return;
  const denying = decision.limits.filter(({ over }) => over);
  const [first] = denying;
  throw new DomainError('RATE_LIMITED', 'too many calls', {
    retryAfterMs: Math.max(1, ...denying.map(({ retryAfterMs }) => retryAfterMs)),
    metadata: { policy: first?.terms.policyName ?? '' },
  });
}

/** A limit for each subject field that the request fills. */
function termsOf(
  policies: RatePolicies,
  policy: string,
  subjects: RpcLimitSettings['subjects'],
  request: unknown,
): LimitTerms[] {
  return subjects.flatMap(({ kind, field }) => {
    const value = fieldOf(request, field);
    if (value === '') return [];
    return policies.named(`${kind}:${value}`, policy) ?? [];
  });
}

/** A string field by its proto name, or an entry of a map as `field.key`; '' where there is none. */
function fieldOf(request: unknown, path: string): string {
  const [field = '', ...rest] = path.split('.');
  const name = field.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
  if (typeof request !== 'object' || request === null || !Object.hasOwn(request, name)) return '';
  const value: unknown = request[name as keyof typeof request];
  const found: unknown = value instanceof Map ? value.get(rest.join('.')) : value;
  return typeof found === 'string' ? found : '';
}
