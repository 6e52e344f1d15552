import { afterEach, expect, test } from '@jest/globals';
import { connect } from '../../src/client/index.js';
import { killServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { sharedRedisUrl } from '../support/service.js';

/** The client while the processes of a service are replaced. */

afterEach(killServiceProcesses);

test('a reload refuses no call: not a small one, not one too large for a frame, not one made before close()', async () => {
  const service = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone'), WORKERS: '2' });
  let stopping = false;
  let answered = 0;
  const failures: unknown[] = [];
  const count = (call: Promise<unknown>): Promise<void> =>
    call.then(
      () => {
        answered++;
      },
      (error: unknown) => {
        failures.push(error);
      },
    );
  const value = Buffer.alloc(300_000);
  async function steady(transport: 'pipeline' | 'unary'): Promise<void> {
    const client = connect(service.address, { transport, logger: false, timeoutMs: 10_000, retry: { maxAttempts: 1 } });
    const { cache } = client.rpc;
    while (!stopping) {
      const large = cache.set({ key: 'large', value });
      const small = Array.from({ length: 9 }, () => cache.increment({ key: 'n', delta: 1n }));
      await Promise.all([large, ...small].map(count));
    }
    await client.close();
  }
  async function closing(): Promise<void> {
    while (!stopping) {
      const client = connect(service.address, { logger: false, timeoutMs: 10_000, retry: { maxAttempts: 1 } });
      const { cache } = client.rpc;
      await count(cache.get({ key: 'x' }));
      const calls = Array.from({ length: 20 }, () => count(cache.increment({ key: 'n', delta: 1n })));
      await Promise.all([client.close(), ...calls]);
    }
  }
  const load = [steady('pipeline'), steady('pipeline'), steady('unary'), closing(), closing()];
  for (let reload = 1; reload <= 2; reload++) {
    service.signal('SIGHUP');
    await service.log(() => service.logs.filter(({ msg }) => msg === 'workers replaced').length === reload);
  }
  stopping = true;
  await Promise.all(load);
  expect(failures).toEqual([]);
  expect(answered).toBeGreaterThan(0);
});
