import { ConfigError } from '../config/config.js';
import type { RpcLimitSettings } from '../config/policies.js';
import { DomainError } from '../errors.js';
import type { Call } from '../redis/call.js';
import type { RatePolicies } from './policies.js';
import type { LimitTerms, RateLimitStore } from './store.js';

export interface RpcGateOptions {
  readonly store: Pick<RateLimitStore, 'checkRateLimit'>;
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
  /** '' where the request does not fill the field. */
  readonly read: (request: unknown) => string;
}

const COST = 1;

/**
 * The rate policies of RPCs, by their names: who is limited stands in the request's own fields. All limits of a call are checked
 * together, so a denied call is charged to none. Throws ConfigError for an RPC or a field that does not exist: a limit
 * that never acts would go unseen.
 */
export function createRpcGates({ store, policies, rpcLimits, rpcs }: RpcGateOptions): ReadonlyMap<string, RpcGate> {
  const gates = new Map<string, RpcGate>();
  for (const [rpc, readers] of readersByRpc(rpcLimits, rpcs)) {
    gates.set(rpc, (request, call) => {
      const limits = termsOf(policies, readers, request);
      return limits.length === 0 ? undefined : charge(store, limits, call);
    });
  }
  return gates;
}

async function charge(store: RpcGateOptions['store'], limits: readonly LimitTerms[], call: Call): Promise<void> {
  const decision = await store.checkRateLimit(limits, COST, call);
  if (decision.allowed) return;
  const longest = decision.limits.reduce((one, other) => (other.retryAfterMs > one.retryAfterMs ? other : one));
  const { subject, policyName } = longest.terms;
  throw new DomainError('RATE_LIMITED', 'too many calls', {
    retryAfterMs: Math.max(1, longest.retryAfterMs),
    // the kind only: the value may be another player's
    metadata: { policy: policyName, subject_kind: subject.slice(0, subject.indexOf(':')) },
  });
}

/** A limit for each subject field that the request fills; one that two fields or entries name is charged once. */
function termsOf(policies: RatePolicies, readers: readonly SubjectReader[], request: unknown): LimitTerms[] {
  const limits = new Map<string, LimitTerms>();
  for (const { kind, policy, read } of readers) {
    const value = read(request);
    const terms = value === '' ? undefined : policies.named(`${kind}:${value}`, policy);
    if (terms !== undefined) limits.set(`${policy} ${terms.subject}`, terms);
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

/** A string field by its proto name, or an entry of a map as `field.key`; undefined where the message has neither. */
function readerOf(path: string, defaults: unknown): SubjectReader['read'] | undefined {
  const [field = '', ...rest] = path.split('.');
  const name = field.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
  const key = rest.join('.');
  const byDefault = fieldOf(defaults, name);
  if (rest.length === 0 && typeof byDefault === 'string') {
    return (request) => textOrNone(fieldOf(request, name));
  }
  if (key !== '' && byDefault instanceof Map) {
    return (request) => {
      const entries = fieldOf(request, name);
      return entries instanceof Map ? textOrNone(entries.get(key)) : '';
    };
  }
  return undefined;
}

function fieldOf(message: unknown, name: string): unknown {
  if (typeof message !== 'object' || message === null || !Object.hasOwn(message, name)) return undefined;
  return message[name as keyof typeof message];
}

function textOrNone(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
