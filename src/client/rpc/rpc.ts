import { CacheServiceService } from '../../gen/shardkeep/cache/v1/cache.js';
import { LockServiceService } from '../../gen/shardkeep/lock/v1/lock.js';
import { RateLimitServiceService } from '../../gen/shardkeep/ratelimit/v1/ratelimit.js';
import { SessionServiceService } from '../../gen/shardkeep/session/v1/session.js';
import type { Transport } from '../transport/transport.js';
import { HealthService } from './health-service.js';
import { serviceClient, type ServiceClient } from './service-client.js';
import type { StreamChannel } from './stream-channel.js';

/** The contract as it is: every RPC of every service, in the messages of the proto. The rest of the client is made of it. */
export interface Rpc {
  readonly cache: ServiceClient<typeof CacheServiceService>;
  readonly sessions: ServiceClient<typeof SessionServiceService>;
  readonly locks: ServiceClient<typeof LockServiceService>;
  readonly rateLimits: ServiceClient<typeof RateLimitServiceService>;
  readonly health: ServiceClient<typeof HealthService>;
}

/** `outside` is for what the pipeline does not carry. */
export function rpcOver(transport: Transport, outside: Transport, streams: StreamChannel): Rpc {
  return {
    cache: serviceClient(CacheServiceService, transport, streams),
    sessions: serviceClient(SessionServiceService, transport, streams),
    locks: serviceClient(LockServiceService, transport, streams),
    rateLimits: serviceClient(RateLimitServiceService, transport, streams),
    health: serviceClient(HealthService, outside, streams),
  };
}
