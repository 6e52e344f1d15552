import { invalidField } from '../errors.js';
import type { BanState, RateLimitServiceService } from '../gen/shardkeep/ratelimit/v1/ratelimit.js';
import type { Implementation } from '../grpc/rpc.js';
import { bytes, integer, text } from '../grpc/rules.js';
import { decodeListToken, encodeListToken, MAX_PAGE_TOKEN_BYTES, type ListScope } from '../redis/list-token.js';
import type { RateLimitAudit } from './audit.js';
import { checkAsked, limits, MAX_LIMIT, permitInline, policyName, subject } from './fields.js';
import type { RatePolicies } from './policies.js';
import type { BannedSubject, StandingStore } from './standing-store.js';
import type { RateLimitStats } from './stats.js';
import { canCountBurst, type LimitTerms } from './terms.js';

export interface StandingHandlerOptions {
  readonly standings: StandingStore;
  readonly policies: RatePolicies;
  readonly stats: RateLimitStats;
  readonly audit: RateLimitAudit;
}

const MAX_TTL_MS = 31_536_000_000n;
const MAX_REASON_BYTES = 256;
const MAX_PAGE_SIZE = 1_000;
const DEFAULT_PAGE_SIZE = 100;

const ttlMs = integer({ min: 1n, max: MAX_TTL_MS });
const policyNameOrNone = text({ minBytes: 0, maxBytes: 32, pattern: /^[a-z0-9_-]*$/ });

type Standings = Pick<
  Implementation<typeof RateLimitServiceService>,
  'resetRateLimit' | 'overrideRateLimit' | 'ban' | 'unban' | 'listBans'
>;

/** What people decide about subjects. */
export function standingRpcs({ standings, policies, stats, audit }: StandingHandlerOptions): Standings {
  const namedTerms = (name: string, who: string): LimitTerms => {
    const terms = policies.named(who, name);
    if (terms !== undefined) return terms;
    if (policies.has(name)) throw invalidField('subject', 'the policy has no limit for this kind');
    throw policies.unknownPolicy('policy_name', name);
  };

  return {
    resetRateLimit: {
      access: 'admin',
      permit: permitInline,
      rules: { limits },
      check: (request) => {
        checkAsked(policies, { ...request, isOneEnough: true });
      },
      handle: async (request, call) => {
        const terms = policies.termsOfEach(request.limits, '', { isOneEnough: true }).flat();
        const reset = await standings.resetRateLimit(terms, call);
        const named = terms.map(({ countedAs, policy }) => ({ subject: countedAs, policy: policy.name }));
        audit.limitsReset(named, call);
        return { reset };
      },
    },
    overrideRateLimit: {
      access: 'admin',
      rules: { subject, policyName, limit: integer({ min: 0, max: MAX_LIMIT }), ttlMs },
      check: ({ subject: who, policyName: name, limit }) => {
        const { policy } = namedTerms(name, who);
        const isExact = policy.algorithm === 'sliding_exact' || policy.algorithm === 'concurrency';
        const { burst } = policy;
        if (burst !== undefined && limit > 0 && !canCountBurst(burst, limit, policy.windowMs)) {
          throw invalidField('limit', "must be more: the policy's burst would take longer than 142 years to come back");
        }
        if (isExact && limit > 8_192) throw invalidField('limit', 'must be 0 to 8192 for this algorithm');
      },
      handle: async (request, call) => {
        const terms = namedTerms(request.policyName, request.subject);
        const { limit } = request;
        const expiresAtMs = await standings.overrideRateLimit(terms, limit, Number(request.ttlMs), call);
        audit.limitOverridden({ subject: terms.countedAs, policy: terms.policy.name, limit, expiresAtMs }, call);
        return { expiresAtMs: BigInt(expiresAtMs) };
      },
    },
    ban: {
      access: 'admin',
      rules: {
        subject,
        policyName: policyNameOrNone,
        ttlMs,
        reason: text({ minBytes: 0, maxBytes: MAX_REASON_BYTES }),
      },
      check: ({ subject: who, policyName: name }) => {
        if (name !== '') namedTerms(name, who);
      },
      handle: async ({ subject: who, policyName: name, ttlMs: banMs, reason }, call) => {
        const countedAs = policies.countedAs(who);
        const expiresAtMs = await standings.ban(countedAs, name, { ttlMs: Number(banMs), reason }, call);
        stats.of(call.namespace).banned(name);
        audit.banned({ subject: countedAs, policy: name, expiresAtMs, reason }, call);
        return { expiresAtMs: BigInt(expiresAtMs) };
      },
    },
    unban: {
      access: 'admin',
      rules: { subject, policyName: policyNameOrNone },
      handle: async ({ subject: who, policyName: name }, call) => {
        const countedAs = policies.countedAs(who);
        const unbanned = await standings.unban(countedAs, name, call);
        if (unbanned) audit.unbanned({ subject: countedAs, policy: name }, call);
        return { unbanned };
      },
    },
    listBans: {
      access: 'admin',
      rules: {
        subjectPrefix: text({ minBytes: 0, maxBytes: 256 }),
        pageSize: integer({ min: 0, max: MAX_PAGE_SIZE }),
        pageToken: bytes({ maxBytes: MAX_PAGE_TOKEN_BYTES }),
      },
      handle: async ({ subjectPrefix, pageSize, pageToken }, call) => {
        const scope: ListScope = { of: 'bans', namespace: call.namespace, prefix: subjectPrefix };
        const place = decodeListToken(scope, pageToken);
        if (place === undefined) {
          throw invalidField('page_token', 'must be the next_page_token of a list of this prefix');
        }
        const page = { pageSize: pageSize === 0 ? DEFAULT_PAGE_SIZE : pageSize, place };
        const { items, next } = await standings.listBans(subjectPrefix, page, call);
        return { bans: items.flatMap(toBanStates), nextPageToken: encodeListToken(scope, next) };
      },
    },
  };
}

function toBanStates({ subject: who, bans }: BannedSubject): BanState[] {
  return bans.map(({ policy, expiresAtMs, reason, step }) => ({
    subject: who,
    policyName: policy,
    expiresAtMs: BigInt(expiresAtMs),
    reason,
    ladderStep: step,
  }));
}
