/** shardkeep in Fastify. */
export type { RateLimitInfo } from '../http/options.js';
export { shardkeep, shardkeep as default, type ShardkeepPluginOptions } from './plugin.js';
export {
  createRateLimitHook,
  type FastifyRateLimitOptions,
  type RateLimitErrorContext,
  type RateLimitHook,
} from './rate-limit.js';
export type { RateLimitDefaults, RateLimitHookName, RouteRateLimitOptions } from './route-rate-limits.js';
