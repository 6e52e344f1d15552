import { ConfigError } from '../config/config.js';
import type { RpcLimitSettings } from '../config/policies.js';
import { DomainError } from '../errors.js';
import type { Call } from '../redis/call.js';
import type { RatePolicies } from './policies.js';
import type { RateLimiter } from './limiter.js';
import { readerOf, type FieldReader } from './request-field.js';
import { kindOf } from './subject.js';
import type { LimitTerms } from './terms.js';

export interface RpcGateOptions {
  readonly limiter: Pick<RateLimiter, 'checkRateLimit'>;
  readonly policies: RatePolicies;
  readonly rpcLimits: readonly RpcLimitSettings[];
  /** Every RPC that is served. */
  readonly rpcs: readonly {
    readonly name: string;
    readonly decode: (bytes: Buffer, from: number, to: number) => unknown;
  }[];
}

/** Charges a call to the rate policies of its RPC; undefined where it has none. Throws RATE_LIMITED. */
export type RpcGate = (request: unknown, call: Call) => Promise<void> | undefined;

/** Who is limited, by what, read from a request. */
interface SubjectReader {
  readonly kind: string;
  readonly policy: string;
  readonly read: FieldReader;
}

const ASK = { cost: 1, minCost: 0, chargeDenied: false };

/**
 * The rate policies of RPCs, by their names: who is limited stands in the request's own fields. All limits of a call are checked
 * together, so a denied call is charged to none. Throws ConfigError for an RPC or a field that does not exist: a limit
 * that never acts would go unseen.
 */
export function createRpcGates({ limiter, policies, rpcLimits, rpcs }: RpcGateOptions): ReadonlyMap<string, RpcGate> {
  const gates = new Map<string, RpcGate>();
  for (const [rpc, readers] of readersByRpc(rpcLimits, rpcs)) {
    gates.set(rpc, (request, call) => {
      const limits = termsOf(policies, readers, request);
      return limits.length === 0 ? undefined : charge(limiter, limits, call);
    });
  }
  return gates;
}

/** The gates that are in force; others may take their place while RPCs are served. */
export class RpcGates {
  private gates: ReadonlyMap<string, RpcGate>;

  constructor(private readonly options: RpcGateOptions) {
    this.gates = createRpcGates(options);
  }

  gateOf(rpc: string): RpcGate {
    return (request, call) => this.gates.get(rpc)?.(request, call);
  }

  /** Throws ConfigError like createRpcGates, and then changes nothing. */
  replace(rpcLimits: readonly RpcLimitSettings[]): void {
    this.gates = createRpcGates({ ...this.options, rpcLimits });
  }
}

async function charge(limiter: RpcGateOptions['limiter'], limits: readonly LimitTerms[], call: Call): Promise<void> {
  const decision = await limiter.checkRateLimit(limits, ASK, call);
  if (decision.allowed) return;
  const longest = decision.limits
    .filter(({ denies }) => denies)
    .reduce((one, other) => (other.retryAfterMs > one.retryAfterMs ? other : one));
  const { subject, policy } = longest.terms;
  throw new DomainError('RATE_LIMITED', 'too many calls', {
    retryAfterMs: Math.max(1, longest.retryAfterMs),
    // the kind only: the value may be another player's
    metadata: { policy: policy.name, subject_kind: kindOf(subject) },
  });
}

/**
 * A limit for each subject field that the request fills, and those that everybody shares; one that two fields or entries
 * name is charged once.
 */
function termsOf(policies: RatePolicies, readers: readonly SubjectReader[], request: unknown): LimitTerms[] {
  const limits = new Map<string, LimitTerms>();
  for (const { kind, policy, read } of readers) {
    const value = read(request);
    const own = value === '' ? undefined : policies.named(`${kind}:${value}`, policy);
    for (const terms of [own, policies.shared(policy)]) {
      if (terms !== undefined) limits.set(`${policy} ${terms.countedAs}`, terms);
    }
  }
  return [...limits.values()];
}

function readersByRpc(
  rpcLimits: readonly RpcLimitSettings[],
  rpcs: RpcGateOptions['rpcs'],
): ReadonlyMap<string, readonly SubjectReader[]> {
  const problems: string[] = [];
  const byRpc = new Map<string, SubjectReader[]>();
  rpcLimits.forEach(({ rpc: name, policy, subjects }, index) => {
    const rpc = rpcs.find((candidate) => candidate.name === name);
    if (rpc === undefined) {
      problems.push(`rpc_limits.${String(index)}.rpc: no RPC has this name`);
      return;
    }
    // the decoding of nothing is the message of defaults
    const defaults = rpc.decode(Buffer.alloc(0), 0, 0);
    const readers = byRpc.get(name) ?? [];
    subjects.forEach(({ kind, field }, at) => {
      const read = readerOf(field, defaults);
      if (read === undefined) {
        problems.push(
          `rpc_limits.${String(index)}.subjects.${String(at)}.field: no string or map entry of the request`,
        );
      } else {
        readers.push({ kind, policy, read });
      }
    });
    byRpc.set(name, readers);
  });
  if (problems.length > 0) throw new ConfigError(problems);
  return byRpc;
}
