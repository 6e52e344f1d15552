import { createHash } from 'node:crypto';
import type { FastifyInstance, RouteOptions } from 'fastify';
import type { ShardkeepClient } from '../../client/index.js';
import { checkOptions, flag, leftOut, oneOf, optional, type OptionChecks } from '../../client/option-checks.js';
import { refuseContradictions } from '../http/rate-limit-checks.js';
import {
  FASTIFY_RATE_LIMIT_CHECKS,
  rateLimitHook,
  type FastifyRateLimitOptions,
  type RateLimitHook,
} from './rate-limit.js';

export type RateLimitHookName = 'onRequest' | 'preValidation' | 'preHandler';

/** What a route says of its limit in `config.rateLimit`. */
export type RouteRateLimitOptions = Partial<Omit<FastifyRateLimitOptions, 'client'>> & {
  /** When the limiter runs, behind the route's own hooks of that name; `onRequest` by default. */
  readonly hook?: RateLimitHookName | undefined;
};

/** What holds for every route, and for `config.rateLimit` of a route as far as that says nothing else. */
export type RateLimitDefaults = RouteRateLimitOptions & {
  /** False: only routes with a `config.rateLimit` are limited. By default all are, where there is a limit to hold them to. */
  readonly global?: boolean | undefined;
};

const ROUTE_CHECKS: OptionChecks<RouteRateLimitOptions> = {
  ...FASTIFY_RATE_LIMIT_CHECKS,
  // the plugin's
  ...{ client: leftOut },
  hook: optional(oneOf('onRequest', 'preValidation', 'preHandler')),
};
const DEFAULTS_CHECKS: OptionChecks<RateLimitDefaults> = { ...ROUTE_CHECKS, global: optional(flag) };

/** Names are 32 characters at most. */
const MAX_NAME_CHARS = 32;
const ROUTE_CHARS = 8;

/**
 * Limits the routes that are registered from now on; `config: { rateLimit: false }` leaves one out. Throws InvalidArgumentError for
 * options that no request could be decided by, also when a route with such is registered.
 */
export function limitRoutes(
  fastify: FastifyInstance,
  client: Pick<ShardkeepClient, 'rateLimits'>,
  rateLimit: RateLimitDefaults,
): void {
  checkOptions('rateLimit', rateLimit, DEFAULTS_CHECKS);
  refuseContradictions('rateLimit', rateLimit);
  const { global: isGlobal, hook: defaultHook, ...defaults } = rateLimit;
  // one limiter, so that routes without a limit of their own share one count
  const shared =
    hasLimit(defaults) && isGlobal !== false ? rateLimitHook('rateLimit', { ...defaults, client }) : undefined;
  fastify.addHook('onRoute', (route) => {
    const own = route.config?.rateLimit;
    if (own === false) return;
    if (own === undefined) {
      if (shared !== undefined) addHook(route, defaultHook, shared);
      return;
    }
    const of = `config.rateLimit of ${route.url}`;
    checkOptions(of, own, ROUTE_CHECKS);
    refuseContradictions(of, own);
    const { hook = defaultHook, ...ofRoute } = own;
    addHook(route, hook, rateLimitHook(of, { ...merge(defaults, ofRoute, route), client }));
  });
}

function addHook(route: RouteOptions, name: RateLimitHookName = 'onRequest', limiter: RateLimitHook): void {
  const before = route[name];
  route[name] = before === undefined ? [limiter] : [...(Array.isArray(before) ? before : [before]), limiter];
}

type Limits = Partial<Omit<FastifyRateLimitOptions, 'client'>>;

function hasLimit({ policy, maxRequests, limit, max }: Limits): boolean {
  return [policy, maxRequests, limit, max].some((value) => value !== undefined);
}

/** What a route says of its limit takes the place of all that the defaults say of theirs. */
function merge(defaults: Limits, own: Limits, route: RouteOptions): Limits {
  const { policy, maxRequests, limit, max, windowMs, algorithm, name, ...others } = defaults;
  if (own.policy !== undefined) return { ...others, ...own };
  const ownMax = own.maxRequests ?? own.limit ?? own.max;
  if (ownMax === undefined && own.windowMs === undefined && policy !== undefined) return { ...others, policy, ...own };
  const merged = { ...others, windowMs, algorithm, ...own, maxRequests: ownMax ?? maxRequests ?? limit ?? max };
  return { ...merged, name: own.name ?? nameOf(route, name) };
}

/** A route with a limit of its own counts by itself; the HEAD that Fastify adds to a GET counts as that. */
function nameOf({ method, url, constraints = {} }: RouteOptions, prefix = 'route'): string {
  const methods = (Array.isArray(method) ? method : [method]).map((each) => (each === 'HEAD' ? 'GET' : each));
  const route = JSON.stringify([[...new Set(methods)].toSorted(), url, constraints]);
  const digest = createHash('sha256').update(route).digest('hex').slice(0, ROUTE_CHARS);
  return `${prefix.slice(0, MAX_NAME_CHARS - ROUTE_CHARS - 1)}-${digest}`;
}
