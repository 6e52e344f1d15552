import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { failureOf } from '../support/client.js';
import { encode, protoRpcs, type ProtoRpc } from '../support/proto.js';
import { policiesFile, sharedRedisUrl, startTestService, type TestService } from '../support/service.js';
import { createFixture, goodRequests, type Fixture } from './good-requests.js';

/** What only a broken or hostile client sends. */

let service: TestService;
let fixture: Fixture;

beforeAll(async () => {
  service = await startTestService({
    REDIS_URL: sharedRedisUrl('standalone'),
    POLICIES_FILE: policiesFile({ rpc_limits: [] }),
  });
  fixture = await createFixture(service);
});
afterAll(async () => {
  await service.stop();
});

const good = protoRpcs.map((rpc) => ({
  rpc,
  name: rpc.name,
  bytes: (): Buffer => encode(rpc.request, goodRequests[rpc.name]?.(fixture) ?? {}),
}));

describe.each(good)('$name', ({ rpc, bytes }) => {
  test.each([
    ['no tag at all', Buffer.from([0xff, 0xff, 0xff])],
    ['a length beyond the message', Buffer.from([0x0a, 0x7f, 0x61])],
    ['a group without end', Buffer.from([0x0b, 0x08])],
    ['a varint of eleven bytes', Buffer.from([0x80, ...Array.from({ length: 10 }, () => 0xff), 0x01])],
  ])('refuses %s as INVALID_ARGUMENT', async (_, payload) => {
    expect(await failureOf(service.channel.rawRpc(rpc, payload))).toMatchObject({
      code: Code.INVALID_ARGUMENT,
      reason: 'INVALID_FIELD',
    });
  });

  test('refuses a request that was cut', async () => {
    const whole = bytes();
    if (whole.length === 0) return;
    expect(await failureOf(service.channel.rawRpc(rpc, whole.subarray(0, -1)))).toMatchObject({
      code: Code.INVALID_ARGUMENT,
    });
  });

  test('refuses a message over the limit of the transport as RESOURCE_EXHAUSTED', async () => {
    const { code } = await failureOf(service.channel.rawRpc(rpc, Buffer.alloc(4_194_305)));
    expect(code).toBe(Code.RESOURCE_EXHAUSTED);
  });
});

test('an empty request is INVALID_ARGUMENT where something is required', async () => {
  const lenient = [
    ...['ListPolicies', 'Watch', 'GetCacheStats', 'GetSessionStats', 'CleanupExpiredSessions', 'DestroyAllSessions'],
    ...['ListLocks', 'CleanupExpiredLocks', 'GetLockStats', 'ListBans', 'GetRateLimitStats'],
  ];
  const strict = good.filter(({ name }) => !lenient.includes(name.slice(name.indexOf('/') + 1)));
  for (const { rpc, name } of strict) {
    const { code, fields } = await failureOf(service.channel.rawRpc(rpc, Buffer.alloc(0)));
    expect({ name, code }).toEqual({ name, code: Code.INVALID_ARGUMENT });
    expect(fields).not.toEqual([]);
  }
});

test.each([
  '/shardkeep.cache.v1.CacheService/Flush',
  '/shardkeep.cache.v1.CacheService/get',
  '/shardkeep.cache.v2.CacheService/Get',
  '/nothing',
])('%s is UNIMPLEMENTED', async (path) => {
  expect((await failureOf(service.channel.raw(path, Buffer.alloc(0)))).code).toBe(Code.UNIMPLEMENTED);
});

describe('noise', () => {
  const DOCUMENTED = new Set([Code.OK, Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION, Code.NOT_FOUND, Code.ABORTED]);
  const anyRpc = fc.constantFrom(...good);

  async function codeOf(rpc: ProtoRpc, payload: Buffer): Promise<Code> {
    return service.channel.rawRpc(rpc, payload).then(
      () => Code.OK,
      async (error: unknown) => (await failureOf(Promise.reject(error as Error))).code,
    );
  }

  async function onlyDocumentedCodes(requests: readonly (readonly [ProtoRpc, Buffer])[]): Promise<void> {
    const codes = await Promise.all(
      requests.map(async ([rpc, payload]) => ({ rpc: rpc.name, code: await codeOf(rpc, payload) })),
    );
    const isDocumented = ({ rpc, code }: { rpc: string; code: Code }): boolean =>
      // only so many of these run at once
      DOCUMENTED.has(code) ||
      (code === Code.RESOURCE_EXHAUSTED && /\/(?:DeletePattern|CleanupExpiredLocks)$/.test(rpc));
    expect(codes.filter((each) => !isDocumented(each))).toEqual([]);
  }

  test('of random bytes is answered by documented codes only', async () => {
    const request = fc.tuple(anyRpc, fc.uint8Array({ maxLength: 64 }));
    await fc.assert(
      fc.asyncProperty(fc.array(request, { minLength: 50, maxLength: 50 }), async (requests) => {
        await onlyDocumentedCodes(requests.map(([{ rpc }, payload]) => [rpc, Buffer.from(payload)]));
      }),
      { numRuns: 15 },
    );
  });

  test('in good requests is answered by documented codes only', async () => {
    const flip = fc.record({ at: fc.nat(), byte: fc.nat(255) });
    const request = fc.tuple(anyRpc, fc.array(flip, { minLength: 1, maxLength: 4 }));
    await fc.assert(
      fc.asyncProperty(fc.array(request, { minLength: 50, maxLength: 50 }), async (requests) => {
        await onlyDocumentedCodes(
          requests.map(([{ rpc, bytes }, flips]) => {
            const payload = bytes();
            for (const { at, byte } of payload.length === 0 ? [] : flips) payload[at % payload.length] = byte;
            return [rpc, payload] as const;
          }),
        );
      }),
      { numRuns: 15 },
    );
  });

  test('leaves the service serving', async () => {
    expect((await service.cache.exists({ keys: ['nothing'] })).exists).toEqual([false]);
  });
});
