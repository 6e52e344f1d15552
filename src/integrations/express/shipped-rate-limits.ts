import type { Request } from 'express';
import type { ShardkeepClient } from '../../client/index.js';
import { userIdOf } from '../http/subject.js';
import { rateLimiter, type ExpressRateLimitOptions, type RateLimitRequestHandler } from './rate-limit.js';

type Overrides = Partial<Omit<ExpressRateLimitOptions, 'client'>>;
type Client = Pick<ShardkeepClient, 'rateLimits'>;

/** `user:<id>` where middleware before this one knows who is logged in, else the address. */
export function userOrAddress(request: Request): string | undefined {
  const id = userIdOf(request);
  return id === undefined ? request.ip : `user:${id}`;
}

/**
 * For logins and what else guards an account: the policy `auth` of the service (5 in 15 minutes), per user where one is known,
 * else per address. What cannot be decided is refused with 503.
 */
export function authRateLimit(client: Client, overrides: Overrides = {}): RateLimitRequestHandler {
  return shipped('authRateLimit', client, { policy: 'auth', failMode: 'closed', retrySafe: true, ...overrides });
}

/** For chat messages: the policy `chat` of the service (10 in 10 s), per user where one is known, else per address. */
export function chatRateLimit(client: Client, overrides: Overrides = {}): RateLimitRequestHandler {
  return shipped('chatRateLimit', client, { policy: 'chat', ...overrides });
}

/** For combat actions: the policy `combat` of the service (10 in 5 s), per user where one is known, else per address. */
export function combatRateLimit(client: Client, overrides: Overrides = {}): RateLimitRequestHandler {
  return shipped('combatRateLimit', client, { policy: 'combat', ...overrides });
}

function shipped(of: string, client: Client, options: Overrides): RateLimitRequestHandler {
  return rateLimiter(of, { keyGenerator: userOrAddress, ...options, client });
}
