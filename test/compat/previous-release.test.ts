import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { ShardkeepClient } from '../../src/client/index.js';
import { until } from '../support/redis-server.js';
import { sdkClient } from '../support/sdk-client.js';
import { SeededRandom } from '../support/seeded-random.js';
import { randomNamespace, sharedRedisUrl } from '../support/service.js';
import { killServiceProcesses, startServiceProcess, type ServiceProcess } from '../support/service-process.js';
import { newHandles, OPERATIONS } from './operations.js';
import { unpackPreviousRelease, type PreviousRelease } from './previous-release.js';

/** During a rolling update processes of two releases work on one Redis, and clients are of either. */

const STEPS = 600;
const SEED = 20_261_122;

let previous: PreviousRelease | undefined;
beforeAll(() => {
  previous = unpackPreviousRelease();
});
afterAll(() => {
  previous?.remove();
});
afterEach(killServiceProcesses);

async function start(release: 'previous' | 'current', namespace: string): Promise<ServiceProcess> {
  const env = { REDIS_URL: sharedRedisUrl('standalone'), NAMESPACE: namespace, LOG_LEVEL: 'info' };
  return startServiceProcess(env, release === 'previous' && previous !== undefined ? { main: previous.main } : {});
}

/** Does the same operations again and again for a seed, each on the service whose turn it is. */
async function history(clients: readonly ShardkeepClient[]): Promise<string[]> {
  const random = new SeededRandom(SEED);
  const turns = new SeededRandom(SEED + 1);
  const handles = newHandles();
  const names = Object.keys(OPERATIONS);
  const outcomes: string[] = [];
  for (let step = 0; step < STEPS; step++) {
    const name = random.pick(names);
    const outcome = await OPERATIONS[name]?.(turns.pick(clients), random, handles).catch(
      (error: unknown) => (error as { readonly reason?: string }).reason ?? 'failed otherwise',
    );
    outcomes.push(`${name} ${JSON.stringify([outcome])}`);
  }
  return outcomes;
}

describe('the previous release and this one on one Redis', () => {
  test('answer as one of them alone would, in whatever order they are called', async () => {
    const mixedIn = randomNamespace();
    const [older, newer, alone] = await Promise.all([
      start('previous', mixedIn),
      start('current', mixedIn),
      start('current', randomNamespace()),
    ]);
    const mixed = await history([sdkClient(older.address), sdkClient(newer.address)]);
    const expected = await history([sdkClient(alone.address)]);
    expect(mixed).toEqual(expected);
    expect(new Set(mixed.map((line) => line.split(' ')[0])).size).toBe(Object.keys(OPERATIONS).length);
    expect(mixed.filter((line) => line.includes('failed otherwise'))).toEqual([]);
  });

  test.each([
    ['previous', 'current'],
    ['current', 'previous'],
  ] as const)('hand a lock that a stream of the %s one holds to who waits at the %s one', async (holder, waiter) => {
    const namespace = randomNamespace();
    const [here, there] = await Promise.all([start(holder, namespace), start(waiter, namespace)]);
    const [first, second] = [sdkClient(here.address), sdkClient(there.address)];
    const held = await first.locks.holdLock('boss', { leaseMs: 60_000 });
    const waiting = second.locks.holdLock('boss', { leaseMs: 60_000, waitMs: 50_000 });
    await until(async () => (await first.locks.getLock('boss')).waitingCount === 1);
    await held.release();
    const next = await waiting;
    expect(next.fencingToken).toBeGreaterThan(held.fencingToken);
    await first.locks.forceReleaseLock('boss', 'maintenance');
    await new Promise((resolve) => {
      if (next.signal.aborted) resolve(undefined);
      else next.signal.addEventListener('abort', resolve);
    });
    expect(next.signal.reason).toMatchObject({ loss: 'force_released' });
  });

  test.each([
    ['previous', 'current'],
    ['current', 'previous'],
  ] as const)('tell what happens to sessions at the %s one to who watches at the %s one', async (writer, watcher) => {
    const namespace = randomNamespace();
    const [here, there] = await Promise.all([start(writer, namespace), start(watcher, namespace)]);
    const [first, second] = [sdkClient(here.address), sdkClient(there.address)];
    const watch = second.sessions.watchSessions({ userIds: ['anna'] });
    await watch.ready;
    const created = await first.sessions.createSession({ userId: 'anna' });
    if (created.status !== 'created') throw new Error(created.status);
    await first.sessions.updateSession(created.session.sessionId, { metadata: { map: 'north' } });
    await first.sessions.destroySession(created.session.sessionId, { reason: 'logout' });
    const types: string[] = [];
    for await (const event of watch) {
      types.push(event.type);
      if (event.type === 'destroyed') break;
    }
    expect(types).toEqual(['created', 'updated', 'destroyed']);
  });
});
