import { afterEach, expect, test } from '@jest/globals';
import { connect, type Rpc } from '../../src/client/index.js';
import { AcquireLockStatus } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { until } from '../support/redis-server.js';
import { randomNamespace, sharedRedisUrl, startTestService, type TestService } from '../support/service.js';

/** Which bound a call that may wait counts in, and that it is counted out again. */

const waitMs = 20_000n;
const ttlMs = 60_000n;
const open: { close(): Promise<void> }[] = [];
const services: TestService[] = [];

afterEach(async () => {
  await Promise.all(open.splice(0).map((client) => client.close()));
  await Promise.all(services.splice(0).map((service) => service.stop()));
});

const MODES: readonly (readonly [string, Readonly<Record<string, string>>])[] = [
  ['on one Redis', {}],
  ['as those of redlock', { LOCK_COMPATIBLE: 'redlock', LOCK_COMPATIBLE_PREFIX: '{t-parked}:' }],
];
const TRANSPORTS = ['pipeline', 'unary'] as const;
const cases = MODES.flatMap(([mode, env]) => TRANSPORTS.map((transport) => ({ mode, env, transport })));

async function locksOf(
  env: Readonly<Record<string, string>>,
  transport: (typeof TRANSPORTS)[number],
): Promise<Rpc['locks']> {
  const service = await startTestService({
    REDIS_URL: sharedRedisUrl('standalone'),
    ...env,
  });
  services.push(service);
  const client = connect(service.address, { transport, timeoutMs: 30_000 });
  open.push(client);
  return client.rpc.locks;
}

test.each(cases)(
  'calls that need not wait leave every place as it was: $mode, $transport',
  async ({ env, transport }) => {
    const locks = await locksOf({ ...env, MAX_IN_FLIGHT: '3', MAX_PARKED: '3' }, transport);
    for (let count = 0; count < 10; count++) {
      const resources = [randomNamespace()];
      const { status, lockToken } = await locks.acquireLock({ resources, ttlMs, waitMs });
      expect(status).toBe(AcquireLockStatus.GRANTED);
      await locks.releaseLock({ resources, lockToken });
    }
    // as many at once as there are places
    const names = Array.from({ length: 3 }, () => [randomNamespace()]);
    const granted = await Promise.all(names.map((resources) => locks.acquireLock({ resources, ttlMs, waitMs })));
    await Promise.all(
      names.map((resources, at) => locks.releaseLock({ resources, lockToken: granted[at]?.lockToken ?? '' })),
    );
  },
);

test.each(cases)(
  'those that wait are not in flight, and more than may be parked do not wait: $mode, $transport',
  async ({ env, transport }) => {
    const locks = await locksOf({ ...env, MAX_IN_FLIGHT: '2', MAX_PARKED: '3' }, transport);
    const resources = [randomNamespace()];
    const held = await locks.acquireLock({ resources, ttlMs });
    const granted: string[] = [];
    const refused: AcquireLockStatus[] = [];
    const asked = Array.from({ length: 5 }, async () => {
      const { status, lockToken } = await locks.acquireLock({ resources, ttlMs, waitMs });
      if (status !== AcquireLockStatus.GRANTED) refused.push(status);
      else {
        granted.push(lockToken);
        await locks.releaseLock({ resources, lockToken });
      }
    });
    await until(() => refused.length === 2);
    await locks.releaseLock({ resources, lockToken: held.lockToken });
    await Promise.all(asked);
    expect({ granted: new Set(granted).size, refused: refused.length }).toEqual({ granted: 3, refused: 2 });
  },
);
