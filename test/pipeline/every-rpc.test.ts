import { status as Code, type ServiceError } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { RateLimitServiceService as EnvoyService } from '../../src/gen/envoy/service/ratelimit/v3/ratelimit.js';
import { CacheServiceService } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { LockServiceService } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { Failure, type Answer } from '../../src/gen/shardkeep/pipeline/v1/pipeline.js';
import { RateLimitServiceService } from '../../src/gen/shardkeep/ratelimit/v1/ratelimit.js';
import { SessionServiceService } from '../../src/gen/shardkeep/session/v1/session.js';
import { rows } from '../grpc/bad-rows.js';
import type { Bad } from '../grpc/bad-values.js';
import { createFixture, goodRequestFor, goodRequests, type Fixture } from '../grpc/good-requests.js';
import { codeOf, RawPipeline, responseOf } from '../support/pipeline-stream.js';
import { encode, placesOf, protoRpcs, unaryRpcs, type ProtoRpc } from '../support/proto.js';
import { policiesFile, sharedRedisUrl, startTestService, type TestService } from '../support/service.js';

/** What holds for a unary call holds for the same call in the pipeline, for every unary RPC that the proto lists. */

/** RPCs that say the same again when nothing happened in between; of the others times, tokens and counts differ. */
const REPEATABLE = new Set([
  'shardkeep.cache.v1.CacheService/Get',
  'shardkeep.cache.v1.CacheService/GetMany',
  'shardkeep.cache.v1.CacheService/Delete',
  'shardkeep.cache.v1.CacheService/Exists',
  'shardkeep.cache.v1.CacheService/Touch',
  'shardkeep.cache.v1.CacheService/GetTtl',
  'shardkeep.cache.v1.CacheService/GetSetMembers',
  'shardkeep.cache.v1.CacheService/GetList',
  'shardkeep.session.v1.SessionService/GetSession',
  'shardkeep.session.v1.SessionService/ValidateSession',
  'shardkeep.session.v1.SessionService/ListUserSessions',
  'shardkeep.ratelimit.v1.RateLimitService/ListPolicies',
]);
const WRONG: number = Code.INVALID_ARGUMENT;
const MAX_REQUEST_BYTES = 262_144;
/** gRPC's own clients (C++, Python, Ruby, …) take no more metadata than this. */
const METADATA_BYTES = 8_192;

interface Method {
  readonly path: string;
  readonly responseDeserialize: (bytes: Buffer) => unknown;
}

const services = [
  CacheServiceService,
  SessionServiceService,
  LockServiceService,
  RateLimitServiceService,
  EnvoyService,
];
const decoders: ReadonlyMap<string, (bytes: Buffer) => unknown> = new Map(
  services.flatMap((service) =>
    Object.values<Method>(service).map((method) => [method.path.slice(1), method.responseDeserialize] as const),
  ),
);

let service: TestService;
let fixture: Fixture;
let stream: RawPipeline;
let nextId = 1;

beforeAll(async () => {
  service = await startTestService({
    REDIS_URL: sharedRedisUrl('standalone'),
    POLICIES_FILE: policiesFile({ rpc_limits: [] }),
  });
  fixture = await createFixture(service);
  stream = new RawPipeline(service.channel.client);
  stream.send({ methods: protoRpcs.map(({ name }) => name) });
});
afterAll(async () => {
  stream.halfClose();
  await stream.ended;
  await service.stop();
});

/** Sends requests of one RPC in one frame and answers their answers in the order of the requests. */
async function pipelined({ name }: ProtoRpc, requests: readonly Buffer[]): Promise<Answer[]> {
  const method = protoRpcs.findIndex((rpc) => rpc.name === name);
  const calls = requests.map((request) => ({ id: nextId++, method, request }));
  const before = stream.answers.length;
  stream.send({ calls });
  await stream.untilAnswers(before + calls.length);
  const answers = new Map(stream.answers.slice(before).map((answer) => [answer.id, answer]));
  expect(answers.size).toBe(calls.length);
  return calls.flatMap(({ id }) => answers.get(id) ?? []);
}

function goodRequest({ name, request }: ProtoRpc, by: Fixture): Buffer {
  return encode(request, goodRequests[name]?.(by) ?? {});
}

/** The google.rpc.Status with which a unary call fails. */
async function unaryStatus({ name }: ProtoRpc, request: Buffer): Promise<Buffer> {
  const error = await service.channel.raw(`/${name}`, request).then(
    () => undefined,
    (failure: unknown) => failure as ServiceError,
  );
  const [status] = error?.metadata.get('grpc-status-details-bin') ?? [];
  if (!Buffer.isBuffer(status)) throw new Error(`${name} did not fail with details`, { cause: error });
  return status;
}

/** The google.rpc.Status with which a call of the pipeline fails. */
function statusOf(answer: Answer): Buffer {
  if (answer.outcome?.$case !== 'failure') throw new Error('the call did not fail');
  return Buffer.from(Failure.encode(answer.outcome.value).finish());
}

/** Which fields are there, with their statuses and flags but not with what differs from call to call. */
function shapeOf(value: unknown, field = ''): unknown {
  if (Buffer.isBuffer(value)) return 'bytes';
  if (value instanceof Map) return [...value.keys()].sort();
  if (Array.isArray(value)) return value.map((item) => shapeOf(item, field));
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, shapeOf(inner, name)]));
  }
  if (typeof value === 'number') return /status$/i.test(field) ? value : 'number';
  return typeof value === 'boolean' ? value : typeof value;
}

/** One wrong value of every field of the RPC, as encoded requests; what the pipeline refuses for its size is left out. */
function badRequests(rpc: ProtoRpc): Buffer[] {
  return placesOf(rpc)
    .flatMap(({ id, name, of, excludes, prefix }) => {
      const row = rows.get(id);
      const bads = Array.isArray(row) ? (row as readonly Bad[]) : [];
      return bads.map((bad) => {
        const request = structuredClone(goodRequestFor(rpc.name, fixture, prefix));
        const message = of(request);
        for (const other of excludes) Reflect.deleteProperty(message, other);
        Object.assign(message, bad.beside, { [name]: bad.value });
        return encode(rpc.request, request);
      });
    })
    .filter(({ length }) => length <= MAX_REQUEST_BYTES);
}

test('the RPCs that must say the same again exist', () => {
  const names = protoRpcs.map(({ name }) => name);
  expect([...REPEATABLE].filter((name) => !names.includes(name))).toEqual([]);
  expect(names.filter((name) => !decoders.has(name))).toEqual([]);
});

test.each(protoRpcs.filter(({ isUnary }) => !isUnary).map((rpc) => ({ rpc, name: rpc.name })))(
  '$name, a stream, is as unknown as what does not exist',
  async ({ rpc }) => {
    const [answer] = await pipelined(rpc, [goodRequest(rpc, fixture)]);
    expect(codeOf(answer)).toBe(Code.UNIMPLEMENTED);
  },
);

describe.each(unaryRpcs.map((rpc) => ({ rpc, name: rpc.name })))('$name', ({ rpc, name }) => {
  test('answers a good request as it does over unary', async () => {
    const [first, mine, theirs] = await Promise.all([1, 2, 3].map(() => createFixture(service)));
    if (first === undefined || mine === undefined || theirs === undefined) throw new Error('no fixtures');
    if (REPEATABLE.has(name)) {
      const request = goodRequest(rpc, mine);
      const unary = await service.channel.raw(`/${name}`, request);
      const [answer] = await pipelined(rpc, [request]);
      expect(responseOf(answer).toString('hex')).toBe(unary.toString('hex'));
      return;
    }
    const decode = decoders.get(name);
    // what a first call changes for all, such as a rate limit's state, is changed
    await service.channel.raw(`/${name}`, goodRequest(rpc, first));
    const [answer] = await pipelined(rpc, [goodRequest(rpc, mine)]);
    const unary = await service.channel.raw(`/${name}`, goodRequest(rpc, theirs));
    expect(shapeOf(decode?.(responseOf(answer)))).toEqual(shapeOf(decode?.(unary)));
  });

  test('refuses wrong requests with the status and the details of unary, byte for byte', async () => {
    const good = goodRequest(rpc, fixture);
    const requests = [
      Buffer.from([0xff, 0xff, 0xff]),
      Buffer.from([0x0a, 0x7f, 0x61]),
      ...(good.length === 0 ? [] : [good.subarray(0, -1)]),
      ...badRequests(rpc),
    ];
    const overUnary = await Promise.all(requests.map((request) => unaryStatus(rpc, request)));
    const answers = await pipelined(rpc, requests);
    expect(answers.map((answer) => statusOf(answer).toString('hex'))).toEqual(
      overUnary.map((status) => status.toString('hex')),
    );
    expect(overUnary.every((status) => Failure.decode(status).code === WRONG)).toBe(true);
  });
});

test('no request has so many wrong fields that its status outgrows the metadata of other clients', async () => {
  const keys = Array.from({ length: 256 }, () => '');
  const permissions = keys;
  const metadata = Object.fromEntries(
    Array.from({ length: 32 }, (_, index) => [String(index).padEnd(64, 'k'), 'v'.repeat(513)]),
  );
  const worst = [
    ['shardkeep.cache.v1.CacheService/Exists', { keys }],
    ['shardkeep.session.v1.SessionService/CreateSession', { user_id: 'u', permissions, metadata }],
  ] as const;
  for (const [name, plain] of worst) {
    const [rpc] = protoRpcs.filter((each) => each.name === name);
    if (rpc === undefined) throw new Error(`no ${name}`);
    const status = await unaryStatus(rpc, encode(rpc.request, plain));
    expect(Failure.decode(status).code).toBe(Code.INVALID_ARGUMENT);
    // on the wire it is base64
    expect(status.toString('base64').length).toBeLessThan(METADATA_BYTES - 1_024);
  }
});
