import { fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { LockLostError, type ShardkeepClient } from '../../../src/client/index.js';
import { errorOf } from '../../support/client-error.js';
import { startRedis, type RedisServer } from '../../support/redis-server.js';
import { SeededRandom } from '../../support/seeded-random.js';
import { killServiceProcesses, startServiceProcess, type ServiceProcess } from '../../support/service-process.js';
import { randomNamespace } from '../../support/service.js';
import { startSilentProxy, type SilentProxy } from '../../support/silent-proxy.js';
import { aborted, afterwards, client, gate, untilWaiting } from './locks-support.js';

/** Whoever loses a lock by its lease has its signal before the next one begins, whatever fails. */

const LEASE_MS = 700;
const LOCKS = 8;
const SEED = 20_260_114;

let redis: RedisServer;
/** What happens happens to the first; whoever comes next has the other one. */
let doomed: ServiceProcess;
let steady: ServiceProcess;

beforeAll(async () => {
  redis = await startRedis();
  const env = { REDIS_URL: redis.url, NAMESPACE: randomNamespace() };
  [doomed, steady] = await Promise.all([startServiceProcess(env), startServiceProcess(env)]);
});
afterAll(async () => {
  await killServiceProcesses();
  await redis.remove();
});

async function proxied(): Promise<{ readonly proxy: SilentProxy; readonly through: ShardkeepClient }> {
  const proxy = await startSilentProxy(Number(steady.address.split(':')[1]));
  const through = client(`127.0.0.1:${String(proxy.port)}`, { timeoutMs: 500 });
  // first: the client would wait for what does not come
  afterwards(() => proxy.close());
  return { proxy, through };
}

const random = new SeededRandom(SEED);
let rounds = 0;

interface Raced {
  /** Whether the holder's signal was aborted when the next one began. */
  readonly wasTold: boolean;
  readonly error: LockLostError;
}

/**
 * Some hold locks of which each is at another moment of its lease, others wait for them, and something happens to all. Answers
 * when all have ended.
 */
async function race(
  holder: ShardkeepClient,
  next: ShardkeepClient,
  fault: (resources: readonly string[]) => unknown,
): Promise<readonly Raced[]> {
  const held: string[] = [];
  const waiting = gate();
  const racing = Array.from({ length: LOCKS }, async (): Promise<Raced> => {
    const resource = `round-${String(++rounds)}`;
    await delay(random.below(LEASE_MS));
    const begun = gate();
    let signal = (): AbortSignal => AbortSignal.abort();
    const losing = errorOf(
      holder.locks.withLock(resource, { leaseMs: LEASE_MS }, async (lock) => {
        signal = () => lock.signal;
        begun.open();
        await aborted(lock.signal);
      }),
    );
    // on a machine that is busy the lease may run out before, or before the other one waits
    await Promise.race([begun.opened, losing]);
    const following = next.locks.withLock(resource, { waitMs: 50_000 }, () =>
      // as the holder sees it: this process may not have run when a timer of it was due
      Promise.resolve(signal().aborted),
    );
    await Promise.race([untilWaiting(next, resource), following]);
    held.push(resource);
    if (held.length === LOCKS) waiting.open();
    const [error, wasTold] = await Promise.all([losing, following]);
    if (!(error instanceof LockLostError)) throw new Error('expected a LockLostError', { cause: error });
    return { error, wasTold };
  });
  const raced = Promise.all(racing);
  await Promise.race([waiting.opened, raced]);
  await fault(held);
  return raced;
}

const ALL_TOLD = new Array<boolean>(LOCKS).fill(true);
const told = (raced: readonly Raced[]): readonly boolean[] => raced.map(({ wasTold }) => wasTold);

describe('before the next one begins, the signal comes of a lock whose', () => {
  test('service stands still', async () => {
    const raced = await race(client(doomed.address), client(steady.address), () => {
      doomed.signal('SIGSTOP');
    });
    doomed.signal('SIGCONT');
    expect(told(raced)).toEqual(ALL_TOLD);
    expect(new Set(raced.map(({ error }) => error.loss))).toEqual(new Set(['expired']));
  });

  test.each(['to_client', 'to_server', 'both'] as const)('connection goes silent, %p', async (direction) => {
    const { proxy, through } = await proxied();
    const raced = await race(through, client(steady.address), () => {
      proxy.silence(direction);
    });
    expect(told(raced)).toEqual(ALL_TOLD);
  });

  test('connection breaks for the service alone', async () => {
    const { proxy, through } = await proxied();
    const raced = await race(through, client(steady.address), () => {
      proxy.cutServer();
    });
    expect(told(raced)).toEqual(ALL_TOLD);
  });

  test('Redis stands still', async () => {
    const raced = await race(client(steady.address), client(steady.address), async () => {
      redis.signal('SIGSTOP');
      // longer than any lease of this test
      await delay(LEASE_MS * 2);
      redis.signal('SIGCONT');
    });
    expect(told(raced)).toEqual(ALL_TOLD);
  });

  test('release is forced after the leases', async () => {
    const next = client(steady.address);
    const raced = await race(client(steady.address), next, (resources) =>
      Promise.all(resources.map((name) => next.locks.forceReleaseLock(name, 'stuck', { afterLeases: true }))),
    );
    expect(told(raced)).toEqual(ALL_TOLD);
  });

  test('service is killed', async () => {
    const raced = await race(client(doomed.address), client(steady.address), () => doomed.stop('SIGKILL'));
    expect(told(raced)).toEqual(ALL_TOLD);
  });
});

test('the signal comes by itself, when nobody looks', async () => {
  const { proxy, through } = await proxied();
  const lock = await through.locks.holdLock('unobserved', { leaseMs: LEASE_MS });
  const { signal } = lock;
  proxy.silence('both');
  expect(await aborted(signal)).toMatchObject({ loss: 'expired', resources: ['unobserved'] });
  await lock.release();
});

test('a release forced at once is told too, whoever hears first', async () => {
  const next = client(steady.address);
  const raced = await race(client(steady.address), next, (resources) =>
    Promise.all(resources.map((name) => next.locks.forceReleaseLock(name, 'stuck'))),
  );
  for (const { error } of raced) expect(['force_released', 'expired']).toContain(error.loss);
});

test('a process that stood still longer than its lease finds its signal aborted, and its write is refused', async () => {
  const resource = 'stopped holder';
  const program = fileURLToPath(new URL('lock-holder.mjs', import.meta.url));
  const child = fork(program, [steady.address, resource, String(LEASE_MS)], { execArgv: [] });
  try {
    const said: unknown[] = [];
    child.on('message', (message) => said.push(message));
    await once(child, 'message');
    child.kill('SIGSTOP');
    child.send('go on');
    const { locks, cache } = client(steady.address);
    await locks.withLock(resource, { waitMs: 50_000 }, async (lock) => {
      const [guard] = lock.grants;
      if (guard === undefined) throw new Error('no grant');
      await cache.set(resource, 'of the next holder', { ttlMs: 60_000, guard });
      const ended = once(child, 'exit');
      child.kill('SIGCONT');
      while (said.length < 3) await once(child, 'message');
      child.kill('SIGKILL');
      await ended;
      expect(said.slice(1)).toEqual([
        { wasAborted: true, write: 'OLD_FENCING_TOKEN' },
        { name: 'LockLostError', loss: 'expired' },
      ]);
      expect(lock.signal.aborted).toBe(false);
    });
    expect(await cache.get(resource)).toBe('of the next holder');
  } finally {
    child.kill('SIGKILL');
  }
});

test('an event loop that stood still longer than the lease finds the signal aborted', async () => {
  const { locks } = client(steady.address);
  const error = await errorOf(
    locks.withLock('blocked', { leaseMs: 500 }, async (lock) => {
      await Promise.resolve();
      const from = performance.now();
      while (performance.now() < from + 600);
      // in the same turn: no timer had a chance
      expect(lock.signal.aborted).toBe(true);
    }),
  );
  expect(error).toMatchObject({ loss: 'expired' });
});
