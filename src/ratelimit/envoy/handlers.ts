import type { EnvoyDomainSettings } from '../../config/envoy-domains.js';
import {
  RateLimitServiceService,
  type RateLimitDescriptor,
  type RateLimitDescriptor_Entry,
  type RateLimitDescriptor_RateLimitOverride,
  type RateLimitRequest,
  type Unit,
} from '../../gen/envoy/service/ratelimit/v3/ratelimit.js';
import { notAllowed } from '../../grpc/principal.js';
import { implement, type Rpc } from '../../grpc/rpc.js';
import { anything, integer, list, message, oneOfValues, optional, text } from '../../grpc/rules.js';
import type { RateLimiter } from '../limiter.js';
import type { RatePolicies } from '../policies.js';
import { toResponse, UNIT_MS } from './answer.js';
import { decide, type Asked } from './asked.js';
import { descriptorSubject, limitOf } from './domains.js';

export interface EnvoyHandlerOptions {
  readonly limiter: Pick<RateLimiter, 'checkRateLimit' | 'peekRateLimit'>;
  readonly policies: Pick<RatePolicies, 'named' | 'ofOverride'>;
  /** Undefined for a domain that is not configured. */
  readonly domainOf: (domain: string) => EnvoyDomainSettings[string] | undefined;
  /** Redis's clock, about, Unix ms. */
  readonly nowMs: () => number;
}

const MAX_DESCRIPTORS = 16;
const MAX_ENTRIES = 16;
const MAX_LIMIT = 1_000_000_000;
/** Counts that are larger come to the same. */
const MAX_SAFE = BigInt(Number.MAX_SAFE_INTEGER);

/** Envoy's rate limit service on the configured policies. */
export function envoyRpcs({ limiter, policies, domainOf, nowMs }: EnvoyHandlerOptions): readonly Rpc[] {
  const askedOf = (request: RateLimitRequest, descriptor: RateLimitDescriptor): Asked => {
    const { domain } = request;
    const { entries, limit } = descriptor;
    const hits = hitsOf(request, descriptor);
    if (limit !== undefined) {
      const subject = descriptorSubject(domain, entries);
      const terms = policies.ofOverride(subject, limit.requestsPerUnit, UNIT_MS.get(limit.unit) ?? 0);
      return { terms, hits, chargeDenied: false };
    }
    const found = limitOf(domain, domainOf(domain)?.descriptors ?? [], entries);
    const terms = found && policies.named(found.subject, found.policy, found.role);
    return { terms, hits, chargeDenied: found?.chargeDenied ?? false };
  };

  return implement(RateLimitServiceService, {
    shouldRateLimit: {
      permit: ({ descriptors }, { hasInlinePolicies }) => {
        if (!hasInlinePolicies && descriptors.some(({ limit }) => limit !== undefined))
          throw notAllowed('inline_policy');
      },
      rules: {
        domain: text({ minBytes: 1, maxBytes: 256 }),
        descriptors: list(
          message<RateLimitDescriptor>({
            entries: list(
              message<RateLimitDescriptor_Entry>({
                key: text({ minBytes: 1, maxBytes: 256 }),
                // chosen by a proxy's clients: a proxy that is answered with an error lets the request pass
                value: anything,
              }),
              { min: 1, max: MAX_ENTRIES },
            ),
            limit: optional(
              message<RateLimitDescriptor_RateLimitOverride>({
                requestsPerUnit: integer({ min: 0, max: MAX_LIMIT }),
                unit: oneOfValues<Unit>(...UNIT_MS.keys()),
              }),
            ),
            hitsAddend: anything,
          }),
          { min: 1, max: MAX_DESCRIPTORS },
        ),
        hitsAddend: anything,
      },
      handle: async (request, call) => {
        const asked = request.descriptors.map((descriptor) => askedOf(request, descriptor));
        const decided = await decide(asked, limiter, call);
        return toResponse(decided, nowMs(), { headers: domainOf(request.domain)?.headers ?? true });
      },
    },
  });
}

/** Only a descriptor can ask for nothing: to proxies, a request without this field is one hit. */
function hitsOf(request: RateLimitRequest, { hitsAddend }: RateLimitDescriptor): number {
  if (hitsAddend === undefined) return Math.max(1, request.hitsAddend);
  return Number(hitsAddend < MAX_SAFE ? hitsAddend : MAX_SAFE);
}
