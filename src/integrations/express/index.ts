/** shardkeep in Express. */
export type { RateLimitInfo } from '../http/options.js';
export { createRateLimit, type ExpressRateLimitOptions, type RateLimitRequestHandler } from './rate-limit.js';
export { authRateLimit, chatRateLimit, combatRateLimit, userOrAddress } from './shipped-rate-limits.js';
