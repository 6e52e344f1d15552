import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ShardkeepError, type ConnectOptions, type ShardkeepClient } from '../../src/client/index.js';
import { CredentialsFile, newToken, type TestPrincipal } from '../support/credentials.js';
import { until } from '../support/redis-server.js';
import { sdkClient } from '../support/sdk-client.js';
import { randomNamespace, sharedRedisUrl, startTestService, type TestService } from '../support/service.js';

/** The client and a service that asks who calls. */

const FIRST = randomNamespace();
const SECOND = randomNamespace();
const token = newToken();
const principal = (tokens: TestPrincipal['tokens'] = [token]): TestPrincipal => ({
  name: 'shard',
  namespaces: [FIRST, SECOND],
  tokens,
});
const file = new CredentialsFile([principal()]);
let service: TestService;

beforeAll(async () => {
  service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone'), CREDENTIALS_FILE: file.path });
});
afterAll(async () => {
  await service.stop();
  file.remove();
});

describe.each(['pipeline', 'unary'] as const)('over %s', (transport) => {
  const failureOf = async (options: ConnectOptions): Promise<unknown> => {
    const client = sdkClient(service.address, { transport, ...options });
    // what cannot be read from the cache is a miss there; what is locked is not made up
    const error: unknown = await client.locks.getLock('door').catch((thrown: unknown) => thrown);
    return error instanceof ShardkeepError ? [error.code, error.reason] : error;
  };

  test('its token lets it in, in the namespace that it asks for', async () => {
    const first = sdkClient(service.address, { transport, token: token.text });
    const second = sdkClient(service.address, { transport, token: token.text, namespace: SECOND });
    await first.cache.set(`key-${transport}`, 'first');
    await second.cache.set(`key-${transport}`, 'second');
    expect(await first.cache.get(`key-${transport}`)).toBe('first');
    expect(await second.cache.get(`key-${transport}`)).toBe('second');
  });

  test('it is told that it is not let in, and not that the service is away', async () => {
    expect(await failureOf({})).toEqual([Code.UNAUTHENTICATED, 'BAD_CREDENTIAL']);
    expect(await failureOf({ token: newToken().text })).toEqual([Code.UNAUTHENTICATED, 'BAD_CREDENTIAL']);
    expect(await failureOf({ token: token.text, namespace: 'another' })).toEqual([
      Code.PERMISSION_DENIED,
      'NOT_ALLOWED',
    ]);
  });
});

const CALLS: Readonly<Record<string, (client: ShardkeepClient, index: number) => Promise<unknown>>> = {
  increment: ({ cache }) => cache.increment('n'),
  // asked for, waited for and held on a stream of their own
  withLock: ({ locks }, index) =>
    locks.withLock(`turn-${String(index % 2)}`, { waitMs: 30_000 }, () => Promise.resolve()),
};

test.each([
  ['increment', 'pipeline'],
  ['increment', 'unary'],
  ['withLock', 'pipeline'],
] as const)('its token is rotated under load, and no %s over %s fails', async (call, transport) => {
  const next = newToken();
  let current = token.text;
  const client = sdkClient(service.address, { transport, token: () => current, retry: { maxAttempts: 1 } });
  let stopping = false;
  let done = 0;
  const work = Array.from({ length: 8 }, async (_, index) => {
    while (!stopping) {
      await CALLS[call]?.(client, index);
      done++;
    }
  });
  const over = Promise.all(work);
  const busy = async (): Promise<void> => {
    const from = done;
    await until(() => done > from + 50);
  };
  await busy();
  await replace([token, next]);
  current = next.text;
  await busy();
  await replace([next]);
  await busy();
  stopping = true;
  await expect(over).resolves.toBeDefined();
  await replace([token]);
});

async function reloads(): Promise<number> {
  const text = await service.service.metrics.registry.metrics();
  return Number(/shardkeep_credentials_reloads_total\{result="applied"\} (\d+)/.exec(text)?.[1]);
}

async function replace(tokens: TestPrincipal['tokens']): Promise<void> {
  const before = await reloads();
  file.write([principal(tokens)]);
  await until(async () => (await reloads()) > before);
}
