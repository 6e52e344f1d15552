import { rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import {
  Server,
  ServerCredentials,
  type ServiceDefinition,
  type UntypedHandleCall,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { ReflectionService } from '@grpc/reflection';
import { protoPath as healthProtoPath } from 'grpc-health-check';
import type { Logger } from 'pino';
import { ListenError } from '../config/config.js';
import type { Principal } from './call-context.js';
import { isSocket, unixSocketAnswers } from '../redis/unix-socket.js';
import type { Health } from './health.js';
import type { Invoker } from './invoke.js';
import { isUnary, type PreparedRpc } from './prepared-rpc.js';
import { Pipeline, PIPELINE_RPC } from './pipeline.js';
import type { Rpc } from './rpc.js';
import { bidiStreamHandler, serverStreamHandler } from './stream.js';
import { OpenCalls, unaryHandler, type TransportOptions } from './unary.js';

export interface GrpcServerOptions {
  readonly rpcs: readonly Rpc[];
  readonly invoker: Invoker;
  readonly health: Health;
  readonly principal: Principal;
  readonly listen: string;
  readonly healthListen: string | undefined;
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
const KEEPALIVE_MS = 30_000;
const KEEPALIVE_TIMEOUT_MS = 10_000;

/**
 * The listeners of the process and what they answer. Channelz stays on although nothing serves it: without it grpc-js
 * 1.14.7 does not know its sessions, and forceShutdown() closes none.
 */
export class GrpcServer {
  private readonly server: Server;
  private readonly healthServer: Server | undefined;
  private readonly openCalls = new OpenCalls();
  private readonly pipeline: Pipeline;

  constructor(private readonly options: GrpcServerOptions) {
    this.server = new Server({
      'grpc.max_receive_message_length': options.maxMessageBytes,
      'grpc.max_send_message_length': options.maxMessageBytes,
      'grpc.keepalive_time_ms': KEEPALIVE_MS,
      'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
    });
    const prepared = options.rpcs.map((rpc) => options.invoker.prepare(rpc));
    this.pipeline = new Pipeline({
      ...options,
      openCalls: this.openCalls,
      rpcs: new Map(prepared.filter(isUnary).map((each) => [each.rpc.name, each])),
      maxCallsInFlight: options.maxStreamCalls,
    });
    this.addServices(prepared);
    this.server.addService(
      { pipeline: rawMethod(PIPELINE_RPC, { requestStream: true, responseStream: true }) },
      { pipeline: this.pipeline.handler },
    );
    options.health.addTo(this.server);
    if (options.reflection) this.addReflection();
    if (options.healthListen !== undefined) {
      this.healthServer = new Server();
      options.health.addTo(this.healthServer);
    }
  }

  get pipelineLoad(): PipelineLoad {
    return { streams: this.pipeline.streams.size, unsentBytes: this.pipeline.unsent.bytes };
  }

  /** Listens; answers the address of the API, with the port that was chosen for port 0. */
  async start(): Promise<string> {
    if (this.healthServer !== undefined && this.options.healthListen !== undefined) {
      await bind(this.healthServer, 'HEALTH_LISTEN', this.options.healthListen);
    }
    return bind(this.server, 'GRPC_LISTEN', this.options.listen);
  }

  /**
   * Stops taking connections and waits until every open call has its answer, at most `timeoutMs`; then closes all
   * connections. Answers whether every call could finish.
   */
  async drain(timeoutMs: number): Promise<boolean> {
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
      await Promise.race([closed, sleep(GOODBYE_MS)]);
    }
    // the last answers are on their way; a stream that only its client ends (reflection) must not hold them
    if (finished) await Promise.race([closed, sleep(CLOSE_MS)]);
    this.server.forceShutdown();
    this.healthServer?.forceShutdown();
    return finished;
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
    new ReflectionService({ ...services, ...loadSync(healthProtoPath) }).addToServer(this.server);
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

/** Throws ListenError. */
async function bind(server: Server, setting: string, listen: string): Promise<string> {
  if (listen.startsWith('unix:')) await removeStaleSocket(listen.replace(/^unix:(?:\/\/)?/, ''));
  return new Promise((resolve, reject) => {
    server.bindAsync(listen, ServerCredentials.createInsecure(), (error, port) => {
      if (error) reject(new ListenError(setting, listen, error));
      else resolve(listen.startsWith('unix:') ? listen : listen.replace(/:\d+$/, `:${String(port)}`));
    });
  });
}

/** A socket file that a killed process left behind keeps the next one from listening; one that answers is in use. */
async function removeStaleSocket(path: string): Promise<void> {
  if (isSocket(path) && !(await unixSocketAnswers(path))) await rm(path, { force: true });
}
