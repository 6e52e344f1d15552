import type { RatePolicySettings } from '../config/policies.js';
import { invalidField } from '../errors.js';
import { Algorithm, type Limit, type Policy } from '../gen/shardkeep/ratelimit/v1/ratelimit.js';
import type { LimitTerms } from './store.js';

/** The configured rate policies, and what the limits of a request come to under them. */
export class RatePolicies {
  constructor(private readonly settings: Readonly<Record<string, RatePolicySettings>>) {}

  /** All policies, in the order of their names. */
  list(): Policy[] {
    return Object.entries(this.settings)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, { limit, window_ms }]) => ({
        name,
        algorithm: Algorithm.SLIDING_EXACT,
        limit,
        windowMs: BigInt(window_ms),
      }));
  }

  /** The terms of a subject under a configured policy; undefined where none has this name. */
  named(subject: string, policyName: string): LimitTerms | undefined {
    const settings = Object.hasOwn(this.settings, policyName) ? this.settings[policyName] : undefined;
    if (settings === undefined) return undefined;
    return { subject, policyName, inline: false, limit: settings.limit, windowMs: settings.window_ms };
  }

  /** The terms of the limits of a request whose fields are right; throws INVALID_FIELD for an unknown name. */
  termsOf(limits: readonly Limit[]): LimitTerms[] {
    return limits.map(({ subject, policy }, index) => {
      if (policy?.$case === 'inlinePolicy') {
        const { name, limit, windowMs } = policy.value;
        return { subject, policyName: name, inline: true, limit, windowMs: Number(windowMs) };
      }
      const terms = this.named(subject, policy?.value ?? '');
      if (terms === undefined) {
        throw invalidField(`limits[${String(index)}].policy_name`, 'no policy has this name');
      }
      return terms;
    });
  }
}
