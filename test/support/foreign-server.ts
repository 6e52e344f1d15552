import {
  Server,
  ServerCredentials,
  type handleUnaryCall,
  type ServerDuplexStream,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { toStatus } from '../../src/grpc/status.js';
import { DomainError } from '../../src/errors.js';
import { CacheServiceService } from '../../src/gen/shardkeep/cache/v1/cache.js';
import {
  Failure,
  PipelineResponse,
  PipelineServiceService,
  type Answer,
  type PipelineRequest,
} from '../../src/gen/shardkeep/pipeline/v1/pipeline.js';

/** A gRPC server on a real socket that is not ours: a proxy, another version, or one that breaks the protocol. */

export type ForeignStream = ServerDuplexStream<PipelineRequest, Partial<PipelineResponse> | Buffer>;
type CacheMethod = keyof typeof CacheServiceService;

export interface ForeignBehaviour {
  /** What it does with a stream of the pipeline; absent: it does not know the RPC. */
  readonly pipeline?: (stream: ForeignStream) => void;
  /** The unary RPCs of the cache that it knows. */
  readonly cache?: Readonly<Partial<Record<CacheMethod, handleUnaryCall<never, object>>>>;
}

export interface ForeignServer {
  readonly address: string;
  /** Streams of the pipeline that were opened so far. */
  readonly streams: readonly ForeignStream[];
}

export const LIMITS = { maxCallsInFlight: 1_024, maxRequestBytes: 262_144, maxFrameBytes: 4_194_304 };

/** Frames as messages, and as bytes where they shall be none. */
const PIPELINE: ServiceDefinition = {
  pipeline: {
    ...PipelineServiceService.pipeline,
    responseSerialize: (frame: Partial<PipelineResponse> | Buffer) =>
      Buffer.isBuffer(frame) ? frame : encodeFrame(frame),
  },
};

const started = new Set<Server>();

export async function startForeignServer({ pipeline, cache = {} }: ForeignBehaviour): Promise<ForeignServer> {
  const server = new Server();
  const streams: ForeignStream[] = [];
  if (pipeline !== undefined) {
    server.addService(PIPELINE, {
      pipeline: (stream: ForeignStream) => {
        streams.push(stream);
        stream.on('error', () => undefined);
        pipeline(stream);
      },
    });
  }
  const methods = Object.fromEntries(
    Object.keys(cache).map((name) => [name, CacheServiceService[name as CacheMethod]]),
  );
  if (Object.keys(methods).length > 0) server.addService(methods, cache as UntypedServiceImplementation);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => {
      if (error) reject(error);
      else resolve(bound);
    });
  });
  started.add(server);
  return { address: `127.0.0.1:${String(port)}`, streams };
}

/** Closes all of them; for `afterEach`. */
export function stopForeignServers(): void {
  for (const server of started) server.forceShutdown();
  started.clear();
}

export function encodeFrame(frame: Partial<PipelineResponse>): Buffer {
  const whole = { limits: undefined, answers: [], draining: false, ...frame };
  return Buffer.from(PipelineResponse.encode(whole).finish());
}

/** A successful answer: the message of defaults. */
export function success({ id }: { readonly id: number }): Answer {
  return { id, outcome: { $case: 'response', value: Buffer.alloc(0) } };
}

/** The google.rpc.Status of a call that was not started, because its service goes away. */
export const DRAINING = toStatus(new DomainError('DRAINING', 'the service is going away', { retryAfterMs: 0 })).details;

export function refusal({ id }: { readonly id: number }): Answer {
  return { id, outcome: { $case: 'failure', value: Failure.decode(DRAINING) } };
}
