/** shardkeep in Express. */
export { platformOf, type Platform } from '../http/platform.js';
export type { SessionDenial } from '../http/session-check.js';
export type { ClientField } from '../http/session-options.js';
export type { Claims, CredentialSource } from '../http/session-credential.js';
export type { SessionView } from '../http/session-view.js';
export { sessionRoutes, type AuthenticatedUser, type SessionRoutesOptions } from './session-routes.js';
export { loadSession, requireSession, type SessionMiddlewareOptions } from './sessions.js';
export type { RateLimitInfo } from '../http/options.js';
export { createRateLimit, type ExpressRateLimitOptions, type RateLimitRequestHandler } from './rate-limit.js';
export { authRateLimit, chatRateLimit, combatRateLimit, userOrAddress } from './shipped-rate-limits.js';
