import { createHash } from 'node:crypto';
import { ALL, type RatePolicySettings } from '../config/rate-policy.js';
import { invalidField, type DomainError } from '../errors.js';
import { unknownName } from '../unknown-name.js';
import { Algorithm, type Limit, type Policy } from '../gen/shardkeep/ratelimit/v1/ratelimit.js';
import { shareOf } from './limit-scripts.js';
import { toPolicy } from './policy-message.js';
import { inlinePolicyTerms, policyTerms } from './policy-terms.js';
import { countedSubject, DEFAULT_IPV6_PREFIX, kindOf } from './subject.js';
import type { LimitTerms, Listing, PolicyTerms } from './terms.js';

const VERSION_DIGITS = 12;
const MAX_SUBJECT_BYTES = 256;

type Settings = Readonly<Record<string, RatePolicySettings>>;

/** What a Limit asks for beside its policy. */
type Asked = Pick<Limit, 'role' | 'cost' | 'subject' | 'subjects'>;

export interface TermsOptions {
  /** Of a policy of several limits one alone can be named, by its subject. */
  readonly isOneEnough?: boolean;
}

/** The configured rate policies, and what the limits of a request come to under them. Others may take their place. */
export class RatePolicies {
  /** One limit, or one for each kind of subject. */
  private policies: ReadonlyMap<string, readonly PolicyTerms[]> = new Map();
  private ipv6Prefix = DEFAULT_IPV6_PREFIX;
  private contentVersion = '';

  /** `ipv6Prefix`: bits of an IPv6 address that are counted as one subject. */
  constructor(settings: Settings, ipv6Prefix = DEFAULT_IPV6_PREFIX) {
    this.replace(settings, ipv6Prefix);
  }

  /** Changes whenever the policies do. */
  get version(): string {
    return this.contentVersion;
  }

  /** From now on these. What is being decided goes on under the terms it began with. */
  replace(settings: Settings, ipv6Prefix = DEFAULT_IPV6_PREFIX): void {
    const sorted = Object.entries(settings).toSorted(([a], [b]) => (a < b ? -1 : 1));
    this.policies = new Map(sorted.map(([name, each]) => [name, policyTerms(name, each)]));
    this.ipv6Prefix = ipv6Prefix;
    const content = JSON.stringify([sorted, ipv6Prefix]);
    this.contentVersion = createHash('sha256').update(content, 'utf8').digest('hex').slice(0, VERSION_DIGITS);
  }

  /** In order. */
  get names(): readonly string[] {
    return [...this.policies.keys()];
  }

  has(name: string): boolean {
    return this.policies.has(name);
  }

  /** The error of a field that names a policy there is not. */
  unknownPolicy(field: string, name: string): DomainError {
    return invalidField(field, unknownName('policy', name, this.names));
  }

  /** All policies, in the order of their names; of one with several limits, each. */
  list(): Policy[] {
    return [...this.policies.values()].flat().map(toPolicy);
  }

  /** How a subject is counted, whatever it is written like. */
  countedAs(subject: string): string {
    return countedSubject(subject, this.ipv6Prefix);
  }

  /** The terms of a subject under a limit that a proxy gives with its request; a limit of 0 denies whatever is asked. */
  ofOverride(subject: string, limit: number, windowMs: number): LimitTerms {
    const value = { name: 'envoy', algorithm: Algorithm.SLIDING_BUCKETS, limit, windowMs: BigInt(windowMs) };
    const terms = this.terms(subject, inlinePolicyTerms({ ...value, burst: undefined }), '', undefined);
    return limit === 0 ? { ...terms, listing: 'denied' } : terms;
  }

  /**
   * The terms of a subject under a configured policy, of one with several limits under that for its kind. Undefined where
   * no policy has this name, or no limit for this kind.
   */
  named(subject: string, policyName: string, role = '', cost?: number): LimitTerms | undefined {
    const limits = this.policies.get(policyName);
    const policy = limits?.find(({ subjectKind = '' }) => subjectKind === '' || subjectKind === kindOf(subject));
    return policy && this.terms(subject, policy, role, cost);
  }

  /** The limit of a policy that everybody shares; undefined where it has none. */
  shared(policyName: string): LimitTerms | undefined {
    const policy = this.policies.get(policyName)?.find(({ subjectKind }) => subjectKind === ALL);
    return policy && this.terms(ALL, policy, '', undefined);
  }

  /**
   * The terms of the limits of a request whose fields are right; throws INVALID_FIELD for an unknown name, and for subjects
   * that are not those of the policy. `at`: what stands in front of its fields.
   */
  termsOf(limits: readonly Limit[], at = ''): LimitTerms[] {
    return inOrder(this.termsOfEach(limits, at));
  }

  /** The same, for each limit of the request what it comes to. */
  termsOfEach(limits: readonly Limit[], at = '', options: TermsOptions = {}): LimitTerms[][] {
    return limits.map((limit, index) => {
      const { policy } = limit;
      const inline = policy?.$case === 'inlinePolicy' ? policy.value : undefined;
      const configured =
        inline === undefined ? this.policies.get(policy?.value as string) : [inlinePolicyTerms(inline)];
      const first = configured?.[0];
      if (configured === undefined || first === undefined) {
        throw this.unknownPolicy(`${at}limits[${String(index)}].policy_name`, policy?.value as string);
      }
      if (first.subjectKind !== undefined)
        return this.termsByKind(configured, limit, `${at}limits[${String(index)}]`, options);
      if (limit.subjects !== undefined) {
        throw invalidField(`${at}limits[${String(index)}].subjects`, 'the policy has no limits by kind of subject');
      }
      return [this.terms(limit.subject, first, limit.role ?? '', limit.cost)];
    });
  }

  private termsByKind(
    parts: readonly PolicyTerms[],
    { subject: one, subjects, role, cost }: Asked,
    field: string,
    { isOneEnough = false }: TermsOptions,
  ): LimitTerms[] {
    if (subjects === undefined) {
      const part = isOneEnough ? parts.find(({ subjectKind }) => subjectKind === kindOf(one)) : undefined;
      if (part === undefined) throw invalidField(`${field}.subject`, 'the policy limits other kinds of subjects');
      return [this.terms(one, part, role ?? '', cost)];
    }
    const at = `${field}.subjects.by_kind`;
    const kinds = new Set(parts.map(({ subjectKind = '' }) => subjectKind).filter((kind) => kind !== ALL));
    for (const kind of subjects.byKind.keys()) {
      if (!kinds.has(kind)) throw invalidField(`${at}.${kind}`, 'the policy has no limit for this kind');
    }
    return parts.map((policy) => {
      const { subjectKind: kind = '' } = policy;
      if (kind === ALL) return this.terms(ALL, policy, role ?? '', cost);
      const id = subjects.byKind.get(kind);
      if (id === undefined) throw invalidField(at, `must name the subject of each kind, also of ${kind}`);
      const subject = `${kind}:${id}`;
      if (Buffer.byteLength(subject) > MAX_SUBJECT_BYTES) {
        throw invalidField(`${at}.${kind}`, `must have ${String(MAX_SUBJECT_BYTES)} bytes at most with its kind`);
      }
      return this.terms(subject, policy, role ?? '', cost);
    });
  }

  private terms(subject: string, policy: PolicyTerms, role: string, cost: number | undefined): LimitTerms {
    const tier = Object.hasOwn(policy.tiers, role) ? policy.tiers[role] : undefined;
    const countedAs = this.countedAs(subject);
    return {
      subject,
      countedAs,
      policy,
      limit: tier ?? policy.limit,
      cost,
      isShadow: policy.enforced < 1 && shareOf(countedAs, policy.storedName) >= policy.enforced,
      listing: listingOf(subject, policy),
    };
  }
}

/** What the limits of a request come to, as one list. */
export function inOrder(termsOfEach: LimitTerms[][]): LimitTerms[] {
  const [only] = termsOfEach;
  // of one limit, as most requests are, at no cost
  return termsOfEach.length === 1 && only !== undefined ? only : termsOfEach.flat();
}

/** Who is on both lists is an exception from the second. */
function listingOf(subject: string, { allow, deny }: PolicyTerms): Listing | undefined {
  if (allow?.has(subject) === true) return 'allowed';
  return deny?.has(subject) === true ? 'denied' : undefined;
}
