import { pino } from 'pino';
import { GetRequest, KeyTtl } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { loadConfig } from '../../src/config/config.js';
import { Health } from '../../src/grpc/health.js';
import { Invoker } from '../../src/grpc/invoke.js';
import { Rejections } from '../../src/grpc/rejections.js';
import { implement, type BidiStreamMethod, type OnDrain, type ServerStreamMethod } from '../../src/grpc/rpc.js';
import { anything, text } from '../../src/grpc/rules.js';
import { GrpcServer } from '../../src/grpc/server.js';
import type { RateGate } from '../../src/grpc/prepared-rpc.js';
import { TestChannel } from './client.js';

/** A service of nothing but streams, whose handlers a test writes, behind the real transport and invoker. */

const codecs = {
  requestSerialize: (request: GetRequest): Buffer => Buffer.from(GetRequest.encode(request).finish()),
  requestDeserialize: (bytes: Buffer): GetRequest => GetRequest.decode(bytes),
  responseSerialize: (response: KeyTtl): Buffer => Buffer.from(KeyTtl.encode(response).finish()),
  responseDeserialize: (bytes: Buffer): KeyTtl => KeyTtl.decode(bytes),
};

export const StreamService = {
  list: { path: '/shardkeep.test.v1.StreamService/List', requestStream: false, responseStream: true, ...codecs },
  talk: { path: '/shardkeep.test.v1.StreamService/Talk', requestStream: true, responseStream: true, ...codecs },
} as const;

export function said(key: string): KeyTtl {
  return { key, exists: true, ttlMs: undefined };
}

export interface StreamServiceOptions {
  readonly list?: ServerStreamMethod<GetRequest, KeyTtl>['handle'];
  readonly talk?: BidiStreamMethod<GetRequest, KeyTtl>['handle'];
  readonly onDrain?: OnDrain;
  readonly gate?: RateGate;
  readonly maxStreams?: number;
}

export interface StreamServiceFixture {
  readonly address: string;
  readonly channel: TestChannel;
  /** gRPC codes of the calls that ended, in their order. */
  readonly codes: readonly number[];
  /** What was logged. */
  readonly logs: readonly Readonly<Record<string, unknown>>[];
  /** As the service does on SIGTERM; answers whether all could finish. */
  drain(timeoutMs: number): Promise<boolean>;
}

// eslint-disable-next-line @typescript-eslint/require-await -- says nothing
async function* silence(): AsyncGenerator<KeyTtl, void> {
  yield* [];
}

export async function startStreamService(options: StreamServiceOptions): Promise<StreamServiceFixture> {
  const { list = silence, talk = silence, onDrain = 'end', gate, maxStreams = 1_000 } = options;
  const codes: number[] = [];
  const logs: Readonly<Record<string, unknown>>[] = [];
  const logger = pino(
    { level: 'info' },
    {
      write: (line: string) => {
        logs.push(JSON.parse(line) as Readonly<Record<string, unknown>>);
      },
    },
  );
  const rules = { key: text({ minBytes: 1, maxBytes: 512 }), consistency: anything };
  const rejections = new Rejections();
  const invoker = new Invoker({
    rateGateOf: () => gate,
    observerOf: () => ({ ended: (code) => codes.push(code) }),
    maxInFlight: 1,
    maxParked: 0,
    maxStreams,
    rejections,
    logger,
  });
  const server = new GrpcServer({
    rpcs: implement(StreamService, { list: { rules, onDrain, handle: list }, talk: { rules, onDrain, handle: talk } }),
    invoker,
    health: new Health({ services: {}, sidecar: true, readinessGraceMs: 0 }),
    principal: { name: 'default', namespace: 'streams' },
    listen: '127.0.0.1:0',
    healthListen: undefined,
    transport: loadConfig({}).grpc.transport,
    rejections,
    reflection: false,
    maxMessageBytes: 4_194_304,
    maxStreamCalls: 1,
    // for unary calls, and for the requests of streams that take one
    defaultDeadlineMs: 1,
    maxDeadlineMs: 60_000,
    logger,
  });
  const address = await server.start();
  const channel = new TestChannel(address);
  return {
    address,
    channel,
    codes,
    logs,
    drain: (timeoutMs) => {
      invoker.drain();
      return server.drain(timeoutMs);
    },
  };
}
