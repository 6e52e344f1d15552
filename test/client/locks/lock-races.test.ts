import { afterAll, describe, expect, test } from '@jest/globals';
import { killServiceProcesses, startServiceProcess } from '../../support/service-process.js';
import { randomNamespace, sharedRedisUrl, TOPOLOGIES } from '../../support/service.js';
import { client } from './locks-support.js';

const CALLERS = 200;

afterAll(killServiceProcesses);

describe.each(TOPOLOGIES)('on %s', (topology) => {
  test(`${String(CALLERS)} callers over two services are never two inside, and their fencing tokens grow`, async () => {
    const env = { REDIS_URL: sharedRedisUrl(topology), NAMESPACE: randomNamespace() };
    const services = await Promise.all([startServiceProcess(env), startServiceProcess(env)]);
    const clients = [...services, ...services].map(({ address }) => client(address));
    const tokens: number[] = [];
    let inside = 0;
    const all = Array.from({ length: CALLERS / clients.length }, () =>
      clients.map(({ locks, cache }) =>
        locks.withLock('contended', { waitMs: 60_000, leaseMs: 30_000 }, async ({ fencingToken, grants, signal }) => {
          expect(++inside).toBe(1);
          tokens.push(fencingToken);
          const [guard] = grants;
          if (guard === undefined) throw new Error('no grant');
          await cache.set('account', tokens.length, { ttlMs: 60_000, guard });
          expect(signal.aborted).toBe(false);
          inside--;
        }),
      ),
    );
    await Promise.all(all.flat());
    expect(tokens).toHaveLength(CALLERS);
    expect(tokens).toEqual([...new Set(tokens)].toSorted((one, other) => one - other));
    expect(await clients[0]?.cache.get('account')).toBe(CALLERS);
  });
});
