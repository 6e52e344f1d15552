import { setMaxListeners } from 'node:events';
import { Client } from '@grpc/grpc-js';
import { runAtBoot } from './boot.js';
import { Cache, type CacheOptions } from './cache/cache.js';
import { Deletions } from './cache/deletions.js';
import { Degrading } from './cache/degrading.js';
import { CallerMemory } from './cache/caller-memory.js';
import { ServiceSource } from './cache/entries.js';
import { NearCache } from './cache/near/near-cache.js';
import { NearSource } from './cache/near/near-source.js';
import { CONNECT_CHECKS } from './connect-options.js';
import { throwIfNoAddress } from './address.js';
import { credentialsOf, type CredentialOptions } from './credentials.js';
import { Health } from './health.js';
import { Locks } from './locks/locks.js';
import type { Logger } from './logger.js';
import { checkOptions } from './option-checks.js';
import { RateLimits } from './rate-limits/rate-limits.js';
import { rpcOver, type Rpc } from './rpc/rpc.js';
import { StreamChannel } from './rpc/stream-channel.js';
import { Sessions } from './sessions/sessions.js';
import { PipelineTransport } from './transport/pipeline-transport.js';
import { RetryingTransport, type RetryOptions } from './transport/retrying-transport.js';
import { UnaryTransport } from './transport/unary-transport.js';
import { loggerOf } from './warning-logger.js';

export interface ConnectOptions extends CredentialOptions {
  /** `pipeline` sends the calls of a tick as one frame, and falls back to `unary` where the service has no pipeline. */
  readonly transport?: 'pipeline' | 'unary';
  /** For calls that name no timeout, from 1, also Infinity; 2,000 by default. */
  readonly timeoutMs?: number;
  readonly retry?: RetryOptions;
  readonly cache?: CacheOptions;
  /**
   * What goes wrong without failing a call, as a cache write that was lost, is said here. A pino logger fits; false: nothing is
   * said. By default warnings and errors are warnings of the process (`ShardkeepWarning`), each at most once a minute.
   */
  readonly logger?: Logger | false;
  /**
   * Runs once, when the service first says that it serves, to warm the cache for example. Nothing waits for it; what it throws
   * is logged. Its signal aborts when the client closes.
   */
  readonly onBoot?: (client: ShardkeepClient, signal: AbortSignal) => Promise<void> | void;
}

/** A connection to a shardkeep service. A request belongs to the client until its call is answered. */
export interface ShardkeepClient {
  readonly cache: Cache;
  readonly sessions: Sessions;
  readonly locks: Locks;
  readonly rateLimits: RateLimits;
  readonly health: Health;
  /** The RPCs in the messages of the proto, for what the rest does not offer. */
  readonly rpc: Rpc;
  /** Ends streams, waits for the answers of calls in flight, then closes; later calls fail with UnavailableError. */
  close(): Promise<void>;
}

const DEFAULT_TIMEOUT_MS = 2_000;
/** grpc-js has 20 s and 120 s: a sidecar that restarts is back within a second. */
const INITIAL_RECONNECT_MS = 50;
const MAX_RECONNECT_MS = 2_000;
/**
 * grpc-js has 30 s: a rolling update that is done sooner leaves it with the addresses of Pods that are gone. It asks only
 * when a connection is lost.
 */
const RESOLVE_AGAIN_MS = 1_000;
/** HTTP/2's own 64 KiB is one large answer: with it values of 64 KiB come five times slower. */
const FLOW_CONTROL_WINDOW_BYTES = 8_388_608;
const KEEPALIVE_MS = 10_000;
const KEEPALIVE_TIMEOUT_MS = 5_000;
/** Answers may be as large as the service allows; it is the one that bounds them. */
const UNLIMITED = -1;

/**
 * Connects to `host:port` or `unix:/path`; throws InvalidArgumentError for what is neither. Returns at once: the first calls
 * wait for the connection, up to their timeout. While the service is away calls fail soon with UnavailableError; the
 * connection comes back by itself.
 */
export function connect(address: string, options: ConnectOptions = {}): ShardkeepClient {
  throwIfNoAddress(address);
  checkOptions<ConnectOptions>('connect', options, CONNECT_CHECKS);
  const { transport: kind = 'pipeline', timeoutMs: defaultTimeoutMs = DEFAULT_TIMEOUT_MS } = options;
  const logger = loggerOf(options.logger);
  const { channel, channelOptions, metadata } = credentialsOf(address, options);
  const client = new Client(address, channel, {
    ...channelOptions,
    'grpc.initial_reconnect_backoff_ms': INITIAL_RECONNECT_MS,
    'grpc.max_reconnect_backoff_ms': MAX_RECONNECT_MS,
    'grpc.dns_min_time_between_resolutions_ms': RESOLVE_AGAIN_MS,
    'grpc.max_receive_message_length': UNLIMITED,
    'grpc-node.flow_control_window': FLOW_CONTROL_WINDOW_BYTES,
    // a peer that vanished without a word would otherwise keep the stream, and every call until its timeout
    'grpc.keepalive_time_ms': KEEPALIVE_MS,
    'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
    // a connection of its own: clients of one process would share one, and so one worker of the service
    'grpc.use_local_subchannel_pool': 1,
  });
  const unary = new UnaryTransport(client, { defaultTimeoutMs, metadata });
  const closing = new AbortController();
  // every load that runs listens to it
  setMaxListeners(0, closing.signal);
  const degrading = new Degrading(options.cache ?? {}, logger, closing.signal, defaultTimeoutMs);
  const onOpen = (): void => {
    degrading.askAgain();
    deletions.retryNow();
  };
  const pipeline =
    kind === 'unary' ? undefined : new PipelineTransport(client, { defaultTimeoutMs, metadata, unary, onOpen });
  const transport = new RetryingTransport(pipeline ?? unary, defaultTimeoutMs, options.retry);
  const streams = new StreamChannel(client, metadata);
  const rpc = rpcOver(transport, unary, streams);
  const deletions = new Deletions({ rpc: rpc.cache, degrading, closing: closing.signal });
  const nearOptions = options.cache?.nearCache;
  const near =
    nearOptions === undefined || nearOptions === false
      ? undefined
      : new NearCache(rpc.cache, nearOptions === true ? {} : nearOptions, logger);
  const service = new ServiceSource(rpc.cache);
  const cache = new Cache(
    {
      rpc: rpc.cache,
      source: near === undefined ? service : new NearSource(near, service),
      degrading,
      memory: new CallerMemory(near, deletions),
      defaultTimeoutMs,
      closing: closing.signal,
    },
    options.cache ?? {},
  );
  const locks = new Locks(rpc.locks, { timeoutMs: defaultTimeoutMs, logger });
  const shardkeep: ShardkeepClient = {
    cache,
    sessions: new Sessions(rpc.sessions, logger),
    locks,
    rateLimits: new RateLimits(rpc.rateLimits, logger),
    health: new Health(rpc.health),
    rpc,
    close: async () => {
      closing.abort();
      near?.close();
      // before its streams are given up, which would leave the locks to their leases
      await locks.close();
      streams.close();
      await transport.close();
      await unary.close();
      client.close();
    },
  };
  const { onBoot } = options;
  if (onBoot !== undefined) {
    void runAtBoot(shardkeep.health, () => onBoot(shardkeep, closing.signal), {
      closing: closing.signal,
      logger,
      // it has a back-off of its own, and what is warmed would be lost
      onServing: () => pipeline?.retryNow(),
    });
  }
  return shardkeep;
}
