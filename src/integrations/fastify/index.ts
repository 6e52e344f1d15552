/** shardkeep in Fastify. */
export type { RateLimitInfo } from '../http/options.js';
export type { SessionDenial } from '../http/session-check.js';
export type { ClientField } from '../http/session-options.js';
export type { Claims, CredentialSource } from '../http/session-credential.js';
export { shardkeep, shardkeep as default, type ShardkeepPluginOptions } from './plugin.js';
export {
  createRateLimitHook,
  type FastifyRateLimitOptions,
  type RateLimitErrorContext,
  type RateLimitHook,
} from './rate-limit.js';
export type { RateLimitDefaults, RateLimitHookName, RouteRateLimitOptions } from './route-rate-limits.js';
export { loadSession, requireSession, type SessionHook, type SessionHookOptions } from './sessions.js';
