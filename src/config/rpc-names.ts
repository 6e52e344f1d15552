import { RateLimitServiceService as EnvoyRateLimitServiceService } from '../gen/envoy/service/ratelimit/v3/ratelimit.js';
import { CacheServiceService } from '../gen/shardkeep/cache/v1/cache.js';
import { LockServiceService } from '../gen/shardkeep/lock/v1/lock.js';
import { RateLimitServiceService } from '../gen/shardkeep/ratelimit/v1/ratelimit.js';
import { SessionServiceService } from '../gen/shardkeep/session/v1/session.js';

interface Method {
  readonly path: string;
}

/** `package.Service/Method` of every RPC that a principal may be allowed. */
export const RPC_NAMES: ReadonlySet<string> = new Set(
  [
    CacheServiceService,
    EnvoyRateLimitServiceService,
    LockServiceService,
    RateLimitServiceService,
    SessionServiceService,
  ].flatMap((service: Readonly<Record<string, Method>>) => Object.values(service).map(({ path }) => path.slice(1))),
);

/** Whether an RPC is meant by `package.Service/Method`, `package.Service/*` or `*`. */
export function isMeant(rpc: string, pattern: string): boolean {
  return pattern === '*' || pattern === rpc || (pattern.endsWith('/*') && rpc.startsWith(pattern.slice(0, -1)));
}
