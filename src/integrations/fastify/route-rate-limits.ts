import { createHash } from 'node:crypto';
import type { FastifyInstance, RouteOptions } from 'fastify';
import type { ShardkeepClient } from '../../client/index.js';
import { createRateLimitHook, type FastifyRateLimitOptions, type RateLimitHook } from './rate-limit.js';

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

/** Names are 32 characters at most. */
const MAX_NAME_CHARS = 32;
const ROUTE_CHARS = 8;

/** Limits the routes that are registered from now on; `config: { rateLimit: false }` leaves one out. */
export function limitRoutes(
  fastify: FastifyInstance,
  client: Pick<ShardkeepClient, 'rateLimits'>,
  { global: isGlobal, ...defaults }: RateLimitDefaults,
): void {
  // one limiter, so that routes without a limit of their own share one count
  const shared = hasLimit(defaults) && isGlobal !== false ? createRateLimitHook({ client, ...defaults }) : undefined;
  fastify.addHook('onRoute', (route) => {
    const own = route.config?.rateLimit;
    if (own === false) return;
    if (own === undefined) {
      if (shared !== undefined) addHook(route, defaults.hook, shared);
      return;
    }
    const merged = merge(defaults, own, route.url);
    addHook(route, merged.hook, createRateLimitHook({ client, ...merged }));
  });
}

function addHook(route: RouteOptions, name: RateLimitHookName = 'onRequest', limiter: RateLimitHook): void {
  const before = route[name];
  route[name] = before === undefined ? [limiter] : [...(Array.isArray(before) ? before : [before]), limiter];
}

function hasLimit({ policy, maxRequests, limit, max }: RouteRateLimitOptions): boolean {
  return [policy, maxRequests, limit, max].some((value) => value !== undefined);
}

/** What a route says of its limit takes the place of all that the defaults say of theirs. */
function merge(defaults: RouteRateLimitOptions, own: RouteRateLimitOptions, url: string): RouteRateLimitOptions {
  const { policy, maxRequests, limit, max, name, ...others } = defaults;
  if (own.policy !== undefined) return { ...others, ...own };
  const ownMax = own.maxRequests ?? own.limit ?? own.max;
  if (ownMax === undefined && own.windowMs === undefined && policy !== undefined) return { ...others, policy, ...own };
  const merged = { ...others, ...own, maxRequests: ownMax ?? maxRequests ?? limit ?? max };
  return { ...merged, name: own.name ?? nameOf(url, name) };
}

/** A route with a limit of its own counts by itself. */
function nameOf(url: string, prefix = 'route'): string {
  const digest = createHash('sha256').update(url).digest('hex').slice(0, ROUTE_CHARS);
  return `${prefix.slice(0, MAX_NAME_CHARS - ROUTE_CHARS - 1)}-${digest}`;
}
