import { afterEach, expect, test } from '@jest/globals';
import type { sendUnaryData } from '@grpc/grpc-js';
import type { ShardkeepClient } from '../../../src/client/index.js';
import { CacheServiceService } from '../../../src/gen/shardkeep/cache/v1/cache.js';
import { until } from '../../support/redis-server.js';
import { startForeignServer, stopForeignServers } from '../../support/foreign-server.js';
import { sdkClient } from '../../support/sdk-client.js';

afterEach(stopForeignServers);

const MISS = CacheServiceService.get.responseDeserialize(Buffer.alloc(0));

interface Mute {
  readonly client: ShardkeepClient;
  /** Calls that came and have no answer. */
  readonly asked: readonly unknown[];
  /** Answers from now on. */
  speak(): void;
}

/** A service that says nothing, and a client that gives its calls a second. */
async function mute(openMs = 1): Promise<Mute> {
  const asked: unknown[] = [];
  let isMute = true;
  const get = ({ request }: { request: unknown }, callback: sendUnaryData<object>): void => {
    if (isMute) asked.push(request);
    else callback(null, MISS);
  };
  const { address } = await startForeignServer({ cache: { get } });
  const client = sdkClient(address, {
    transport: 'unary',
    timeoutMs: 1_000,
    retry: { maxAttempts: 1 },
    cache: { circuit: { failures: 3, openMs, maxOpenMs: openMs } },
  });
  const speak = (): void => {
    isMute = false;
  };
  return { client, asked, speak };
}

async function openCircuit({ client: { cache } }: Mute): Promise<void> {
  await Promise.all(['a', 'b', 'c'].map((key) => cache.get(key)));
  expect(cache.circuitState).toBe('open');
}

test('who waits for less than the client’s timeout opens the circuit for nobody', async () => {
  const service = await mute();
  const { cache } = service.client;
  await Promise.all(Array.from({ length: 50 }, (_, index) => cache.get(`k${String(index)}`, { timeoutMs: 1 })));
  expect(cache.circuitState).toBe('closed');
  // two of three, and nothing between them that counts
  await Promise.all(['a', 'b'].map((key) => cache.get(key)));
  await cache.get('hurried', { timeoutMs: 999 });
  expect(cache.circuitState).toBe('closed');
  await cache.get('c', { timeoutMs: 1_000 });
  expect(cache.circuitState).toBe('open');
});

test('calls that were given up open it for nobody', async () => {
  const service = await mute();
  const { cache } = service.client;
  const controller = new AbortController();
  const calls = Array.from({ length: 20 }, (_, index) => cache.get(`k${String(index)}`, { signal: controller.signal }));
  await until(() => service.asked.length === 20);
  controller.abort();
  await Promise.allSettled(calls);
  expect(cache.circuitState).toBe('closed');
});

test('a try that is given up, or was hurried, leaves the finding out to the next one', async () => {
  const service = await mute();
  const { cache } = service.client;
  await openCircuit(service);
  for (let round = 0; round < 3; round++) {
    const controller = new AbortController();
    const before = service.asked.length;
    let call: Promise<unknown> | undefined;
    // until the time has come in which one is let through
    await until(async () => {
      call = cache.get('probe', { signal: controller.signal }).catch(() => undefined);
      if (cache.circuitState === 'half-open') return true;
      await call;
      return false;
    });
    await until(() => service.asked.length > before);
    controller.abort();
    await call;
    expect(cache.circuitState).toBe('open');
    // while it is open nobody else was asked
    expect(service.asked).toHaveLength(before + 1);
  }
  await until(async () => {
    await cache.get('hurried', { timeoutMs: 1 });
    return service.asked.length > 6;
  });
  expect(cache.circuitState).toBe('open');
  service.speak();
  await until(async () => {
    await cache.get('k');
    return cache.circuitState === 'closed';
  });
});
