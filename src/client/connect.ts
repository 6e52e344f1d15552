import { Client, credentials } from '@grpc/grpc-js';
import { CacheServiceService } from '../gen/shardkeep/cache/v1/cache.js';
import { LockServiceService } from '../gen/shardkeep/lock/v1/lock.js';
import { RateLimitServiceService } from '../gen/shardkeep/ratelimit/v1/ratelimit.js';
import { SessionServiceService } from '../gen/shardkeep/session/v1/session.js';
import { HAND_WRITTEN } from './hand-written.js';
import { clientMethod, type CallOptions, type ServiceClient, type ServiceDefinition } from './method.js';
import { PipelineTransport } from './pipeline-transport.js';
import type { Transport } from './transport.js';
import { UnaryTransport } from './unary-transport.js';

export interface ConnectOptions {
  /** `pipeline` sends the calls of a tick as one frame, and falls back to `unary` where the service has no pipeline. */
  readonly transport?: 'pipeline' | 'unary';
  /** For calls that name no timeout; 2,000 by default. */
  readonly timeoutMs?: number;
}

/** A connection to a shardkeep service. A request belongs to the client until its call is answered. */
export interface ShardkeepClient {
  readonly cache: ServiceClient<typeof CacheServiceService>;
  readonly sessions: ServiceClient<typeof SessionServiceService>;
  readonly locks: ServiceClient<typeof LockServiceService>;
  readonly rateLimits: ServiceClient<typeof RateLimitServiceService>;
  /** Waits for the answers of calls in flight, then closes; later calls fail with UNAVAILABLE. */
  close(): Promise<void>;
}

const DEFAULT_TIMEOUT_MS = 2_000;
/** grpc-js has 20 s and 120 s: a sidecar that restarts is back within a second. */
const INITIAL_RECONNECT_MS = 50;
const MAX_RECONNECT_MS = 2_000;
/** HTTP/2's own 64 KiB is one large answer: with it values of 64 KiB come five times slower. */
const FLOW_CONTROL_WINDOW_BYTES = 8_388_608;
const KEEPALIVE_MS = 10_000;
const KEEPALIVE_TIMEOUT_MS = 5_000;
/** Answers may be as large as the service allows; it is the one that bounds them. */
const UNLIMITED = -1;

/**
 * Connects to `host:port` or `unix:/path`. Returns at once: the first calls wait for the connection, up to their timeout.
 * While the service is away calls fail at once with UNAVAILABLE; the connection comes back by itself.
 */
export function connect(address: string, options: ConnectOptions = {}): ShardkeepClient {
  const { transport: kind = 'pipeline', timeoutMs = DEFAULT_TIMEOUT_MS } = options;
  const client = new Client(address, credentials.createInsecure(), {
    'grpc.initial_reconnect_backoff_ms': INITIAL_RECONNECT_MS,
    'grpc.max_reconnect_backoff_ms': MAX_RECONNECT_MS,
    'grpc.max_receive_message_length': UNLIMITED,
    'grpc-node.flow_control_window': FLOW_CONTROL_WINDOW_BYTES,
    // a peer that vanished without a word would otherwise keep the stream, and every call until its timeout
    'grpc.keepalive_time_ms': KEEPALIVE_MS,
    'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
    // a connection of its own: clients of one process would share one, and so one worker of the service
    'grpc.use_local_subchannel_pool': 1,
  });
  const unary = new UnaryTransport(client, timeoutMs);
  const transport = kind === 'unary' ? unary : new PipelineTransport(client, { defaultTimeoutMs: timeoutMs, unary });
  return {
    cache: serviceClient(CacheServiceService, transport),
    sessions: serviceClient(SessionServiceService, transport),
    locks: serviceClient(LockServiceService, transport),
    rateLimits: serviceClient(RateLimitServiceService, transport),
    close: async () => {
      await transport.close();
      client.close();
    },
  };
}

const NO_OPTIONS: CallOptions = {};

function serviceClient<Service extends ServiceDefinition>(
  service: Service,
  transport: Transport,
): ServiceClient<Service> {
  const unary = Object.entries(service).filter(([, method]) => !method.requestStream && !method.responseStream);
  const functions = unary.map(([name, definition]) => {
    const generated = clientMethod(definition);
    const method = { ...generated, ...HAND_WRITTEN[generated.name] };
    const call = (request: object, options: CallOptions = NO_OPTIONS): Promise<unknown> =>
      transport.call(method, request, options);
    return [name, call] as const;
  });
  return Object.fromEntries(functions) as unknown as ServiceClient<Service>;
}
