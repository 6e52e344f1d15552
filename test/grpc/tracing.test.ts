import { Client, credentials, InterceptingCall, type Interceptor } from '@grpc/grpc-js';
import { afterAll, afterEach, expect, test } from '@jest/globals';
import { context, propagation, SpanKind, SpanStatusCode } from '@opentelemetry/api';
import {
  InMemorySpanExporter,
  NodeTracerProvider,
  SimpleSpanProcessor,
  type ReadableSpan,
} from '@opentelemetry/sdk-trace-node';
import { connect } from '../../src/client/index.js';
import { CacheServiceService } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { LockServiceService } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { get } from '../pipeline/requests.js';
import { failureOf } from '../support/client.js';
import { RawPipeline } from '../support/pipeline-stream.js';
import { until } from '../support/redis-server.js';
import { openStream } from '../support/stream-client.js';
import { onEachTopology, sharedRedisUrl, startTestService } from '../support/service.js';

/** Spans of calls and of what they ask of Redis, as an OpenTelemetry SDK gets them. */

const exporter = new InMemorySpanExporter();
const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
// as `node --import` does, before the service starts
provider.register();

afterEach(() => {
  exporter.reset();
});
afterAll(() => provider.shutdown());

const GET = CacheServiceService.get.path.slice(1);
const TRACE_ID = '0af7651916cd43dd8448eb211c80319c';
const SPAN_ID = 'b7ad6b7169203331';

function carrying(traceparent: string): Interceptor {
  return (options, nextCall) =>
    new InterceptingCall(nextCall(options), {
      start: (metadata, listener, next) => {
        metadata.set('traceparent', traceparent);
        next(metadata, listener);
      },
    });
}

async function spansOf(rpc: string): Promise<{ readonly call: ReadableSpan; readonly operations: ReadableSpan[] }> {
  // a span ends behind the answer
  await until(() => exporter.getFinishedSpans().some(({ name }) => name === rpc));
  const spans = exporter.getFinishedSpans();
  const calls = spans.filter(({ name }) => name === rpc);
  expect(calls).toHaveLength(1);
  const [call] = calls;
  if (call === undefined) throw new Error('no span');
  return { call, operations: spans.filter((span) => span.parentSpanContext?.spanId === call.spanContext().spanId) };
}

onEachTopology('a call that is traced', (service) => {
  test('has a span, and in it one of each operation on Redis; none holds a key or a value', async () => {
    const { cache, namespace } = service();
    await cache.set({ key: 'canary-key', value: Buffer.from('canary-value') });
    const { call, operations } = await spansOf(CacheServiceService.set.path.slice(1));
    expect(call.kind).toBe(SpanKind.SERVER);
    expect(call.attributes).toEqual({
      'rpc.system.name': 'grpc',
      'rpc.method': 'shardkeep.cache.v1.CacheService/Set',
      'rpc.response.status_code': 'OK',
      'shardkeep.namespace': namespace,
    });
    expect(call.status.code).toBe(SpanStatusCode.UNSET);
    expect(call.parentSpanContext).toBeUndefined();
    expect(operations.map(({ name, kind, attributes }) => ({ name, kind, attributes }))).toContainEqual({
      name: 'set',
      kind: SpanKind.CLIENT,
      attributes: {
        'db.system.name': 'redis',
        'db.operation.name': 'EVALSHA',
        'db.stored_procedure.name': 'set',
      },
    });
    exporter.reset();
    await cache.get({ key: 'canary-key' });
    const read = await spansOf(GET);
    expect(read.operations.map(({ name, attributes }) => [name, attributes['db.operation.name']])).toEqual([
      ['GET', 'GET'],
    ]);
    const everything = exporter.getFinishedSpans().map(({ name, attributes, events, status }) => ({
      ...{ name, attributes, events, status },
    }));
    expect(JSON.stringify(everything)).not.toContain('canary');
  });
});

const service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
afterAll(() => service.stop());

test('the trace that a caller is in goes on', async () => {
  await service.cache.get({ key: 'k' }, { interceptors: [carrying(`00-${TRACE_ID}-${SPAN_ID}-01`)] });
  const { call, operations } = await spansOf(GET);
  expect(call.spanContext().traceId).toBe(TRACE_ID);
  expect(call.parentSpanContext).toMatchObject({ spanId: SPAN_ID, isRemote: true });
  expect(operations[0]?.spanContext().traceId).toBe(TRACE_ID);
});

test.each(['pipeline', 'unary'] as const)(
  'the TypeScript client carries the trace, but in the %s',
  async (transport) => {
    const shardkeep = connect(service.address, {
      transport,
      timeoutMs: 30_000,
      traceContext: () => {
        const carrier: Record<string, string> = {};
        propagation.inject(context.active(), carrier);
        return carrier;
      },
    });
    const game = provider.getTracer('game');
    await game.startActiveSpan('fight', async (fight) => {
      await shardkeep.cache.get('k');
      fight.end();
      const { call } = await spansOf(GET);
      const parent = call.parentSpanContext?.spanId;
      expect(parent).toBe(transport === 'unary' ? fight.spanContext().spanId : undefined);
    });
    await shardkeep.close();
  },
);

test('a client whose trace cannot be told calls all the same', async () => {
  const shardkeep = connect(service.address, {
    transport: 'unary',
    timeoutMs: 30_000,
    traceContext: () => {
      throw new Error('no trace');
    },
  });
  expect(await shardkeep.cache.get('k')).toBeUndefined();
  await shardkeep.close();
});

test('what the caller did not sample, or is no context, makes no trouble', async () => {
  await service.cache.get({ key: 'k' }, { interceptors: [carrying(`00-${TRACE_ID}-${SPAN_ID}-00`)] });
  await service.cache.get({ key: 'k' }, { interceptors: [carrying('00-0000-canary-xx')] });
  const { call } = await spansOf(GET);
  expect(call.parentSpanContext).toBeUndefined();
});

test('a failed call says how, and only the failures of the service are errors', async () => {
  await failureOf(service.cache.get({ key: '' }));
  const refused = (await spansOf(GET)).call;
  expect(refused.attributes['rpc.response.status_code']).toBe('INVALID_ARGUMENT');
  expect(refused.status.code).toBe(SpanStatusCode.UNSET);
  exporter.reset();

  await service.cache.addToSet({ key: 'set', members: [Buffer.from('m')] });
  await failureOf(service.cache.increment({ key: 'set', delta: 1n }));
  const { operations } = await spansOf(CacheServiceService.increment.path.slice(1));
  expect(operations.map(({ name, status, attributes }) => [name, status.code, attributes['error.type']])).toEqual([
    ['increment', SpanStatusCode.ERROR, 'WRONG_TYPE'],
  ]);
});

test('calls of the pipeline have spans of their own, linked to where their stream was opened', async () => {
  const interceptors = [carrying(`00-${TRACE_ID}-${SPAN_ID}-01`)];
  const client = new Client(service.address, credentials.createInsecure(), { interceptors });
  const stream = new RawPipeline(client);
  stream.send({ methods: [GET], calls: [1, 2].map((id) => ({ id, request: get(`k${String(id)}`) })) });
  await stream.untilAnswers(2);
  const spans = exporter.getFinishedSpans();
  const calls = spans.filter(({ name }) => name === GET);
  expect(calls).toHaveLength(2);
  for (const call of calls) {
    expect(call.parentSpanContext).toBeUndefined();
    expect(call.links.map(({ context }) => context.spanId)).toEqual([SPAN_ID]);
  }
  expect(new Set(calls.map((call) => call.spanContext().traceId)).size).toBe(2);
  // they shared a command, and each has its own time of it
  expect(spans.filter(({ name }) => name === 'GET')).toHaveLength(2);
  stream.cancel();
  client.close();
});

test('a stream has a span that ends with it', async () => {
  const name = LockServiceService.watchLocks.path.slice(1);
  const stream = openStream(service.channel, LockServiceService.watchLocks, { resources: ['boss'] });
  await stream.untilMessages(1);
  expect(exporter.getFinishedSpans().map((span) => span.name)).not.toContain(name);
  stream.cancel();
  const { call } = await spansOf(name);
  expect(call.attributes['rpc.response.status_code']).toBe('CANCELLED');
});
