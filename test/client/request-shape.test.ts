import { beforeAll, describe, expect, test } from '@jest/globals';
import { CacheServiceService } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { LockServiceService } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { RateLimitServiceService } from '../../src/gen/shardkeep/ratelimit/v1/ratelimit.js';
import { SessionServiceService } from '../../src/gen/shardkeep/session/v1/session.js';
import { FailedPreconditionError, InvalidArgumentError } from '../../src/client/index.js';
import { requestReader } from '../../src/client/rpc/request-shape.js';
import type { MethodDefinition } from '../../src/client/transport/method.js';
import { createFixture, goodRequests, type Fixture } from '../grpc/good-requests.js';
import { encode, protoRpcs } from '../support/proto.js';
import { sdkClient } from '../support/sdk-client.js';
import { sharedRedisUrl, startTestService, type TestService } from '../support/service.js';

/** What callers without a compiler can put into a request. */

const methods = new Map<string, MethodDefinition>(
  [CacheServiceService, LockServiceService, RateLimitServiceService, SessionServiceService].flatMap(
    (service: Readonly<Record<string, MethodDefinition>>) =>
      Object.values(service).map((method) => [method.path.slice(1), method] as const),
  ),
);
const rpcs = protoRpcs.filter(({ name }) => methods.has(name));

let service: TestService;
let fixture: Fixture;
beforeAll(async () => {
  service = await startTestService({ url: sharedRedisUrl('standalone') });
  fixture = await createFixture(service);
});

interface Leaf {
  readonly path: string;
  readonly value: unknown;
  /** The same message with another value there. */
  readonly with: (value: unknown) => unknown;
}

/** Every value in a message, those of messages and lists in it too. */
function leavesOf(value: unknown, path: string, put: (value: unknown) => unknown): Leaf[] {
  const here = { path, value, with: put };
  if (Array.isArray(value)) {
    const list: readonly unknown[] = value;
    const inner = list.flatMap((each, index) =>
      leavesOf(each, `${path}[${String(index)}]`, (other) => put(list.with(index, other))),
    );
    return [here, ...inner];
  }
  if (value instanceof Map) {
    const map: ReadonlyMap<unknown, unknown> = value;
    const inner = Array.from(map, ([key, each]) => ({
      path: `${path}[${String(key)}]`,
      value: each,
      with: (other: unknown) => put(new Map([...map, [key, other]])),
    }));
    return [here, ...inner];
  }
  if (typeof value !== 'object' || value === null || Buffer.isBuffer(value)) return [here];
  if ('$case' in value && 'value' in value) {
    const { $case } = value;
    const at = path.slice(0, path.lastIndexOf('.') + 1) + String($case);
    return [here, ...leavesOf(value.value, at, (other) => put({ $case, value: other }))];
  }
  const at = path === '' ? '' : `${path}.`;
  const inner = Object.entries(value).flatMap(([name, each]) =>
    leavesOf(each, at + name, (other) => put({ ...value, [name]: other })),
  );
  return [here, ...inner];
}

const SAMPLES: readonly unknown[] = [
  ...['text', '5', '\ud800', 5, -1, 0.5, NaN, 2 ** 40, 5n, 2n ** 63n, true, Buffer.from('x'), ['a'], [7], [undefined]],
  ...[new Map([['k', 'v']]), new Map([['k', 7]]), {}, { $case: 'nothing', value: 1 }, () => 1, Symbol.iterator],
];

/** By what a right value is, whether another is of its type too. */
function isSameType(right: unknown, other: unknown): boolean {
  if (right === undefined) return true;
  if (typeof right === 'string') return typeof other === 'string' && other !== '\ud800';
  if (typeof right === 'bigint') return other === 5n;
  // of 32 bits, or any: which, the number does not tell
  if (typeof right === 'number') return typeof other === 'number';
  if (Buffer.isBuffer(right)) return Buffer.isBuffer(other);
  if (Array.isArray(right)) return Array.isArray(other);
  if (right instanceof Map) return other instanceof Map;
  if (typeof right === 'object') return typeof other === 'object' && right !== null && !('$case' in right);
  return typeof other === typeof right;
}

describe.each(rpcs)('$name', ({ name, request }) => {
  const method = methods.get(name);
  if (method === undefined) throw new Error(`no method ${name}`);
  const read = requestReader(name);

  test('a request without any field is that of the generated code', () => {
    expect(read({})).toEqual(method.requestDeserialize(Buffer.alloc(0)));
    expect(Object.keys(read({}))).toEqual(Object.keys(method.requestDeserialize(Buffer.alloc(0)) as object));
  });

  test('a right request stays as it is, whatever is beside it', () => {
    const message = method.requestDeserialize(encode(request, goodRequests[name]?.(fixture) ?? {})) as object;
    expect(read(message)).toEqual(message);
    expect(read({ ...message, noField: 1 })).toEqual(message);
  });

  test('a value of another type is refused, by its path', () => {
    const message = method.requestDeserialize(encode(request, goodRequests[name]?.(fixture) ?? {}));
    for (const leaf of leavesOf(message, '', (value) => value)) {
      for (const sample of SAMPLES.filter((each) => !isSameType(leaf.value, each))) {
        expect(leaf.path).toBe(refusedPath(read, leaf.with(sample)));
      }
    }
  });
});

function refusedPath(read: (request: unknown) => object, request: unknown): string | undefined {
  try {
    read(request);
    return undefined;
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
    const [path, ...more] = error.fields;
    return more.length === 0 ? path : error.fields.join();
  }
}

test('holes of a list are no texts, and a list of billions of them is refused at once', () => {
  const read = requestReader('shardkeep.cache.v1.CacheService/Delete');
  const holes: unknown[] = [];
  holes[1] = 'key';
  expect(refusedPath(read, { keys: holes })).toBe('keys[0]');
  holes.length = 2 ** 32 - 1;
  expect(refusedPath(read, { keys: holes })).toBe('keys');
  const many = Array.from({ length: 10_000 }, () => 7);
  expect(refusedPath(read, { keys: many })?.split(',')).toHaveLength(32);
});

test('all that is wrong is named, and what is absent is not', () => {
  const read = requestReader('shardkeep.ratelimit.v1.RateLimitService/CheckRateLimit');
  const limit = { subject: 7, policy: { $case: 'inlinePolicy', value: { name: 'p', windowMs: 1, limit: null } } };
  expect(() => read({ limits: [limit, 'user:ada'], wantHeaders: 'yes', cost: undefined })).toThrow(
    expect.objectContaining({
      fields: ['limits[0].subject', 'limits[0].inlinePolicy.windowMs', 'limits[1]', 'wantHeaders'],
    }),
  );
});

test('a call with such a request is refused, and changes nothing', async () => {
  const { cache, rpc } = sdkClient(service.address);
  const key: unknown = { toString: () => 'key' };
  await expect(rpc.cache.set({ key: key as string, value: Buffer.from('x') })).rejects.toMatchObject({
    fields: ['key'],
  });
  await expect(cache.set(key as string, 1)).rejects.toBeInstanceOf(InvalidArgumentError);
  await expect(cache.set('key', 1, { tags: [7 as unknown as string] })).rejects.toMatchObject({ fields: ['tags[0]'] });
  expect(() => rpc.sessions.watchSessions({ userIds: 'ada' as unknown as string[] })).toThrow(InvalidArgumentError);
  expect(await cache.exists('key')).toBe(false);
  const watch = rpc.cache.watch();
  expect(() => watch.write({ addKeys: 'key' as unknown as string[] })).toThrow(InvalidArgumentError);
  watch.write({ addKeys: ['key'] });
  expect((await watch.next()).done).toBe(false);
  watch.end();
  expect(() => watch.write({ addKeys: ['other'] })).toThrow(FailedPreconditionError);
  expect((await watch.return()).done).toBe(true);
});
