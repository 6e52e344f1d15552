import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import {
  Server,
  type ServerOptions,
  type ServiceDefinition,
  type UntypedHandleCall,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { protoPath as healthProtoPath } from 'grpc-health-check';
import type { Logger } from 'pino';
import type { MetricDefinition } from '../admin/metrics.js';
import type { ConnectionLimits, TransportPlan } from '../config/transport-plan.js';
import type { Authority } from './authority.js';
import { Connections } from './connections.js';
import { quietGrpcLog } from './grpc-log.js';
import type { Health } from './health.js';
import type { Invoker } from './invoke.js';
import { Listener } from './listener.js';
import { isUnary, type PreparedRpc } from './prepared-rpc.js';
import { PIPELINE_RPC, PipelineStreams } from './pipeline-streams.js';
import { onItsConnection } from './pipeline-connection.js';
import { addReflection } from './reflection.js';
import type { Rejections } from './rejections.js';
import type { Rpc } from './rpc.js';
import { certificateMetrics, ServerCertificates } from './server-certificates.js';
import { bidiStreamHandler, serverStreamHandler } from './stream.js';
import { OpenCalls, unaryHandler, type TransportOptions } from './unary.js';

export interface GrpcServerOptions {
  readonly rpcs: readonly Rpc[];
  readonly invoker: Invoker;
  readonly health: Health;
  readonly authority: Authority;
  readonly listen: string;
  readonly healthListen: string | undefined;
  readonly transport: TransportPlan;
  readonly rejections: Rejections;
  readonly reflection: boolean;
  readonly maxMessageBytes: number;
  /** Calls in flight on one stream of the pipeline. */
  readonly maxStreamCalls: number;
  readonly defaultDeadlineMs: number;
  readonly maxDeadlineMs: number;
  readonly logger: Logger;
}

/** Of all streams of the pipeline, at this moment. */
export interface PipelineLoad {
  readonly streams: number;
  /** Answers that their callers have yet to take. */
  readonly unsentBytes: number;
}

const PROTO_DIR = fileURLToPath(new URL('../../proto', import.meta.url));

/** How long connections may take to close when every call has its answer. */
const CLOSE_MS = 1_000;
/** How long the last statuses may take to leave when the time of a drain is over. */
const GOODBYE_MS = 250;
/** The listener for health is for a kubelet and a few load balancers, and must answer while the API is flooded. */
const MAX_HEALTH_CONNECTIONS = 256;
const MAX_HEALTH_STREAMS = 100;
/** The name of a service. */
const MAX_HEALTH_REQUEST_BYTES = 4_096;
const HEALTH_IDLE_MS = 300_000;

/**
 * The listeners of the process and what they answer. Channelz stays on although nothing serves it: without it grpc-js
 * 1.14.7 does not know its sessions, and forceShutdown() closes none.
 */
export class GrpcServer {
  /** Of the certificates. */
  readonly metrics: readonly MetricDefinition[];
  private readonly server: Server;
  private readonly healthServer: Server | undefined;
  private readonly certificates: ServerCertificates | undefined;
  private readonly connections: Connections[] = [];
  private readonly listeners: Listener[] = [];
  private readonly openCalls = new OpenCalls();
  private readonly pipeline: PipelineStreams;

  constructor(private readonly options: GrpcServerOptions) {
    const { transport, logger } = options;
    quietGrpcLog();
    this.certificates = transport.tls && new ServerCertificates(transport.tls, logger);
    this.metrics = certificateMetrics(this.certificates);
    this.server = new Server({
      'grpc.max_receive_message_length': options.maxMessageBytes,
      'grpc.max_send_message_length': options.maxMessageBytes,
      ...boundsOf(transport.limits),
    });
    const prepared = options.rpcs.map((rpc) => options.invoker.prepare(rpc));
    this.pipeline = new PipelineStreams({
      ...options,
      openCalls: this.openCalls,
      rpcs: new Map(prepared.filter(isUnary).map((each) => [each.rpc.name, each])),
      maxCallsInFlight: options.maxStreamCalls,
    });
    this.addServices(prepared);
    this.server.addService(
      { pipeline: rawMethod(PIPELINE_RPC, { requestStream: true, responseStream: true }) },
      { pipeline: onItsConnection(this.pipeline, options.rejections) },
    );
    options.health.addTo(this.server);
    if (options.reflection) this.addReflection();
    if (options.healthListen !== undefined) {
      this.healthServer = new Server({
        'grpc.max_receive_message_length': MAX_HEALTH_REQUEST_BYTES,
        ...boundsOf(healthLimits(transport.limits)),
      });
      options.health.addTo(this.healthServer);
    }
  }

  get pipelineLoad(): PipelineLoad {
    return { streams: this.pipeline.streams.size, unsentBytes: this.pipeline.unsent.bytes };
  }

  /** Listens; answers the address of the API, with the port that was chosen for port 0. Throws ListenError. */
  async start(): Promise<string> {
    const { healthListen, listen, transport } = this.options;
    if (this.healthServer !== undefined && healthListen !== undefined) {
      const limits = healthLimits(transport.limits);
      // a kubelet's probe speaks no TLS
      const maxRequestBytes = MAX_HEALTH_REQUEST_BYTES;
      await this.listen(this.healthServer, { setting: 'HEALTH_LISTEN', listen: healthListen, limits, maxRequestBytes });
    }
    const { certificates } = this;
    const address = await this.listen(this.server, {
      setting: 'GRPC_LISTEN',
      listen,
      limits: transport.limits,
      certificates,
      maxRequestBytes: this.options.maxMessageBytes,
      authority: this.options.authority,
    });
    certificates?.start();
    return address;
  }

  /**
   * Stops taking connections and waits until every open call has its answer, at most `timeoutMs`; then closes all
   * connections. Answers whether every call could finish.
   */
  async drain(timeoutMs: number): Promise<boolean> {
    this.certificates?.close();
    // the one for health answers until the end
    this.listeners.at(-1)?.close();
    const closed = new Promise<void>((resolve) => {
      this.server.tryShutdown(() => {
        resolve();
      });
    });
    this.pipeline.drain();
    let timer: NodeJS.Timeout | undefined;
    const timedOut = new Promise<boolean>((resolve) => {
      timer = setTimeout(resolve, timeoutMs, false);
    });
    const finished = await Promise.race([this.openCalls.whenIdle().then(() => true), timedOut]);
    clearTimeout(timer);
    // what has not finished by now is told, as far as that is possible
    if (!finished && this.options.invoker.endStreams()) {
      await Promise.race([closed, sleep(GOODBYE_MS, undefined, { ref: false })]);
    }
    // the last answers are on their way; a stream that only its client ends (reflection) must not hold them
    if (finished) await Promise.race([closed, sleep(CLOSE_MS, undefined, { ref: false })]);
    this.server.forceShutdown();
    this.healthServer?.forceShutdown();
    for (const listener of this.listeners) listener.destroy();
    for (const connections of this.connections) connections.close();
    return finished;
  }

  private async listen(server: Server, plan: ListenPlan): Promise<string> {
    const { setting, listen, limits, certificates, maxRequestBytes, authority } = plan;
    const { rejections, logger, maxDeadlineMs } = this.options;
    const connections = new Connections({ server, limits, maxDeadlineMs, maxRequestBytes, authority, rejections });
    this.connections.push(connections);
    const listener = new Listener({
      setting,
      listen,
      certificates,
      maxConnections: limits.maxConnections,
      // of health a probe must get in, whoever holds all the others: the process is killed where it does not
      whenFull: server === this.healthServer ? 'oldest' : 'newest',
      rejections,
      onConnection: (socket) => {
        connections.add(socket);
      },
      logger,
    });
    this.listeners.push(listener);
    return listener.start();
  }

  private addServices(prepared: readonly PreparedRpc[]): void {
    const { options, openCalls } = this;
    for (const service of new Set(prepared.map(({ rpc }) => rpc.service))) {
      const definition: Record<string, ServiceDefinition[string]> = {};
      const implementation: UntypedServiceImplementation = {};
      for (const each of prepared.filter(({ rpc }) => rpc.service === service)) {
        const { name } = each.rpc;
        definition[name] = rawMethod(name, {
          requestStream: each.rpc.kind === 'bidi-stream',
          responseStream: each.rpc.kind !== 'unary',
        });
        implementation[name] = handlerOf(each, { ...options, openCalls });
      }
      this.server.addService(definition, implementation);
    }
  }

  private addReflection(): void {
    const names = [...this.options.rpcs.map(({ name }) => name), PIPELINE_RPC];
    const files = [...new Set(names.map((name) => protoFileOf(name)))];
    const services = loadSync(files, { includeDirs: [PROTO_DIR] });
    addReflection(this.server, { ...services, ...loadSync(healthProtoPath) }, this.options.authority);
  }
}

function handlerOf({ rpc, ...prepared }: PreparedRpc, options: TransportOptions): UntypedHandleCall {
  switch (rpc.kind) {
    case 'unary':
      return unaryHandler({ ...prepared, rpc }, options);
    case 'server-stream':
      return serverStreamHandler({ ...prepared, rpc }, options);
    case 'bidi-stream':
      return bidiStreamHandler({ ...prepared, rpc }, options);
  }
}

/** `shardkeep.cache.v1.CacheService/Get` lives in `shardkeep/cache/v1/cache.proto`. */
function protoFileOf(rpc: string): string {
  const folders = rpc.split('.').slice(0, -1);
  return `${folders.join('/')}/${folders.at(-2) ?? ''}.proto`;
}

/** Messages as bytes: the invoker decodes and encodes. */
function rawMethod(
  name: string,
  streams: { requestStream: boolean; responseStream: boolean },
): ServiceDefinition[string] {
  return {
    path: `/${name}`,
    ...streams,
    requestSerialize: identity,
    requestDeserialize: identity,
    responseSerialize: identity,
    responseDeserialize: identity,
  };
}

function identity(bytes: Buffer): Buffer {
  return bytes;
}

interface ListenPlan {
  readonly setting: string;
  readonly listen: string;
  readonly limits: ConnectionLimits;
  readonly certificates?: ServerCertificates | undefined;
  readonly maxRequestBytes: number;
  /** Undefined: everything here is open to everybody. */
  readonly authority?: Authority | undefined;
}

/** The bounds of a connection that grpc-js keeps. */
function boundsOf(limits: ConnectionLimits): ServerOptions {
  return {
    'grpc.max_concurrent_streams': limits.maxConnectionStreams,
    'grpc.keepalive_time_ms': limits.keepaliveTimeMs,
    'grpc.keepalive_timeout_ms': limits.keepaliveTimeoutMs,
    ...(limits.maxConnectionIdleMs > 0 && { 'grpc.max_connection_idle_ms': limits.maxConnectionIdleMs }),
  };
}

function healthLimits(limits: ConnectionLimits): ConnectionLimits {
  return {
    ...limits,
    maxConnections: MAX_HEALTH_CONNECTIONS,
    maxConnectionStreams: MAX_HEALTH_STREAMS,
    maxConnectionAgeMs: 0,
    maxConnectionIdleMs: HEALTH_IDLE_MS,
  };
}
