import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { ServiceSource } from '../../../src/client/cache/entries.js';
import { NearCache } from '../../../src/client/cache/near/near-cache.js';
import { NearSource } from '../../../src/client/cache/near/near-source.js';
import { connect, CancelledError, type ShardkeepClient } from '../../../src/client/index.js';
import { SILENT } from '../../../src/client/logger.js';
import type { Entry } from '../../../src/gen/shardkeep/cache/v1/cache.js';
import { errorOf } from '../../support/client-error.js';
import { until } from '../../support/redis-server.js';
import { sharedRedisUrl, startTestService, type TestService } from '../../support/service.js';
import { bytes, lasting, textOf } from './near-support.js';

/** Where the client's cache reads its entries from when it has a near cache. */

let service: TestService;
let client: ShardkeepClient;
let near: NearCache;
let source: NearSource;
/** Keys that the service was asked for. */
let asked: string[] = [];
beforeAll(async () => {
  service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
  client = connect(service.address, { logger: false, timeoutMs: 30_000 });
  near = new NearCache(client.rpc.cache, {}, SILENT);
  const behind = new ServiceSource(client.rpc.cache);
  source = new NearSource(near, {
    get: (key, options) => {
      asked.push(key);
      return behind.get(key, options);
    },
    getMany: (keys, options) => {
      asked.push(...keys);
      return behind.getMany(keys, options);
    },
  });
  for (const key of ['a', 'b', 'c']) await service.cache.set({ key, value: bytes(key), expiry: lasting });
});
afterAll(async () => {
  near.close();
  await client.close();
  await service.stop();
});

const own = (): { readonly timeoutMs: number } => ({ timeoutMs: 20_000 });

test.each([
  ['with the timeout of all', {}],
  ['with a timeout of its own', own()],
])('what was read is answered from memory %s', async (_, options) => {
  const texts = (entries: readonly (Entry | undefined)[]): string[] => entries.map(textOf);
  near.forgetAll();
  await until(async () => {
    asked = [];
    expect(textOf(await source.get('a', options))).toBe('a');
    return asked.length === 0;
  });
  expect(texts(await source.getMany(['b', 'a', 'not there', 'a'], options))).toEqual(['b', 'a', 'miss', 'a']);
  expect(asked).toEqual(['b', 'not there']);
  await until(async () => {
    asked = [];
    expect(texts(await source.getMany(['a', 'b', 'not there'], options))).toEqual(['a', 'b', 'miss']);
    return asked.length === 0;
  });
});

test('who has a timeout or a signal of its own shares no read', async () => {
  asked = [];
  const controller = new AbortController();
  const shared = [source.get('c', {}), source.get('c', {})];
  const alone = errorOf(source.get('c', { signal: controller.signal }));
  controller.abort();
  expect(await alone).toBeInstanceOf(CancelledError);
  expect((await Promise.all(shared)).map(textOf)).toEqual(['c', 'c']);
  expect(asked).toEqual(['c', 'c']);
});
