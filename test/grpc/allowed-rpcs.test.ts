import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { RateLimitServiceService as EnvoyService } from '../../src/gen/envoy/service/ratelimit/v3/ratelimit.js';
import { CacheServiceService } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { RateLimitServiceService } from '../../src/gen/shardkeep/ratelimit/v1/ratelimit.js';
import { ADMIN_RPCS } from '../support/admin-rpcs.js';
import { failureOf, metadataOf, TestChannel } from '../support/client.js';
import { CredentialsFile, newToken, type TestPrincipal } from '../support/credentials.js';
import { codeOf, RawPipeline } from '../support/pipeline-stream.js';
import { encode, protoRpcs, type ProtoRpc } from '../support/proto.js';
import { randomNamespace, sharedRedisUrl, startTestService, type TestService } from '../support/service.js';
import { openStream } from '../support/stream-client.js';
import { goodRequests, type Fixture } from './good-requests.js';

/** Which principal may call which RPC: every RPC of the contract, by unary, as a stream and through the pipeline. */

const GET = 'shardkeep.cache.v1.CacheService/Get';
const LOCKS = 'shardkeep.lock.v1.LockService/';
const BAN = 'shardkeep.ratelimit.v1.RateLimitService/Ban';

const isPlain = (rpc: string): boolean => !ADMIN_RPCS.has(rpc);
/** What each may call, by the settings of its principal. */
const PRINCIPALS: Readonly<Record<string, { settings: object; mayCall: (rpc: string) => boolean }>> = {
  default: { settings: {}, mayCall: isPlain },
  admin: { settings: { admin: true }, mayCall: () => true },
  everything: { settings: { rpcs: ['*'] }, mayCall: isPlain },
  one: { settings: { rpcs: [GET] }, mayCall: (rpc) => rpc === GET },
  service: { settings: { rpcs: [`${LOCKS}*`] }, mayCall: (rpc) => rpc.startsWith(LOCKS) && isPlain(rpc) },
  operator: { settings: { admin: true, rpcs: [BAN] }, mayCall: (rpc) => rpc === BAN },
  nothing: { settings: { rpcs: [] }, mayCall: () => false },
};

const NAMESPACE = randomNamespace();
const tokens = new Map(Object.keys(PRINCIPALS).map((name) => [name, newToken()]));
const principals = Object.entries(PRINCIPALS).map(([name, { settings }]): TestPrincipal => {
  const token = tokens.get(name);
  return { name, namespaces: [NAMESPACE], tokens: token === undefined ? [] : [token], ...settings };
});
const inline = newToken();
const file = new CredentialsFile([
  ...principals,
  { name: 'inline', namespaces: [NAMESPACE], tokens: [inline], inline_policies: true },
]);

/** Nobody's: what is refused for the RPC is refused whatever the request says. */
const FIXTURE: Fixture = {
  userId: 'nobody',
  sessionId: 'A'.repeat(24),
  sessionToken: `${'A'.repeat(24)}.${'A'.repeat(43)}`,
  resource: 'nothing',
  lockToken: 'A'.repeat(22),
};
const NO_MESSAGE = Buffer.from([0xff, 0xff, 0xff]);

let service: TestService;
const channels: TestChannel[] = [];

beforeAll(async () => {
  service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone'), CREDENTIALS_FILE: file.path });
});
afterAll(async () => {
  for (const channel of channels) channel.close();
  await service.stop();
  file.remove();
});

function channelOf(token: string | undefined): TestChannel {
  const channel = new TestChannel(service.address, undefined, { metadata: metadataOf({ token }) });
  channels.push(channel);
  return channel;
}

function good({ name, request }: ProtoRpc): Buffer {
  return encode(request, goodRequests[name]?.(FIXTURE) ?? {});
}

async function codeOfCall(call: Promise<unknown>): Promise<number> {
  return call.then(
    () => Code.OK,
    (error: unknown) => (error as { readonly code: number }).code,
  );
}

/** The codes of all RPCs, one request each. */
async function codesOf(channel: TestChannel, requestOf: (rpc: ProtoRpc) => Buffer): Promise<Map<string, number>> {
  const codes = await Promise.all(
    protoRpcs.map(async (rpc) => [rpc.name, await codeOfCall(channel.rawRpc(rpc, requestOf(rpc)))] as const),
  );
  return new Map(codes);
}

test('every RPC of the contract has a good request here, and what is for admins is an RPC', () => {
  const names = protoRpcs.map(({ name }) => name);
  expect(names.filter((name) => goodRequests[name] === undefined)).toEqual([]);
  expect([...ADMIN_RPCS].filter((name) => !names.includes(name))).toEqual([]);
});

describe.each(Object.entries(PRINCIPALS).map(([name, principal]) => ({ name, ...principal })))(
  'the principal $name',
  ({ name, mayCall }) => {
    const token = tokens.get(name)?.text;
    const denied = protoRpcs.filter((rpc) => !mayCall(rpc.name));

    test('is refused an RPC before anything else of the call, and let in by the others', async () => {
      const codes = await codesOf(channelOf(token), () => NO_MESSAGE);
      for (const [rpc, code] of codes) {
        expect([rpc, code]).toEqual([rpc, mayCall(rpc) ? Code.INVALID_ARGUMENT : Code.PERMISSION_DENIED]);
      }
    });

    test('is refused good requests too: none succeeds', async () => {
      const channel = channelOf(token);
      const codes = await Promise.all(denied.map((rpc) => codeOfCall(channel.rawRpc(rpc, good(rpc)))));
      expect(codes).toEqual(denied.map(() => Code.PERMISSION_DENIED));
    });

    test('is refused the same RPCs inside the pipeline', async () => {
      const unary = protoRpcs.filter(({ isUnary }) => isUnary);
      const pipeline = new RawPipeline(service.address, metadataOf({ token }));
      pipeline.send({
        methods: unary.map((rpc) => rpc.name),
        calls: unary.map((_, method) => ({ id: method + 1, method, request: NO_MESSAGE })),
      });
      const answers = new Map((await pipeline.untilAnswers(unary.length)).map((answer) => [answer.id, answer]));
      pipeline.cancel();
      for (const [index, rpc] of unary.entries()) {
        const expected = mayCall(rpc.name) ? Code.INVALID_ARGUMENT : Code.PERMISSION_DENIED;
        expect([rpc.name, codeOf(answers.get(index + 1))]).toEqual([rpc.name, expected]);
      }
    });
  },
);

test('nobody may call anything, whatever the request says', async () => {
  for (const requestOf of [good, () => NO_MESSAGE]) {
    const codes = await codesOf(channelOf(undefined), requestOf);
    expect(new Set(codes.values())).toEqual(new Set([Code.UNAUTHENTICATED]));
  }
});

describe('what a request may ask', () => {
  const ofLimits = protoRpcs.filter(({ name }) =>
    /\/(CheckRateLimit|CheckManyRateLimits|PeekRateLimit|ReserveRateLimit|HoldConcurrency|ShouldRateLimit)$/.test(name),
  );

  test.each(ofLimits.map((rpc) => ({ rpc, name: rpc.name })))('$name: policies only where it may', async ({ rpc }) => {
    const refused = await failureOf(channelOf(tokens.get('default')?.text).rawRpc(rpc, good(rpc)));
    expect(refused).toMatchObject({ code: Code.PERMISSION_DENIED, metadata: { refused: 'inline_policy' } });
    await expect(channelOf(inline.text).rawRpc(rpc, good(rpc))).resolves.toBeDefined();
  });

  test('a policy by its name where it may give none', async () => {
    const limits = [
      {
        ...{ subject: 'user:1', cost: undefined, role: undefined, subjects: undefined },
        policy: { $case: 'policyName', value: 'chat' } as const,
      },
    ];
    const channel = channelOf(tokens.get('default')?.text);
    const { allowed } = await channel.of(RateLimitServiceService).checkRateLimit({ limits });
    expect(allowed).toBe(true);
    const entries = [{ key: 'remote_address', value: '203.0.113.7' }];
    const descriptors = [{ entries, limit: undefined, hitsAddend: undefined }];
    await expect(channel.of(EnvoyService).shouldRateLimit({ domain: 'edge', descriptors })).resolves.toBeDefined();
  });

  test('all keys of the cache at once only where it is an admin', async () => {
    const request = { pattern: '*', allowAll: true, dryRun: true };
    const ask = (name: string): Promise<Code> =>
      openStream(channelOf(tokens.get(name)?.text), CacheServiceService.deletePattern, request).code();
    expect(await ask('default')).toBe(Code.PERMISSION_DENIED);
    expect(await ask('admin')).toBe(Code.OK);
  });
});
