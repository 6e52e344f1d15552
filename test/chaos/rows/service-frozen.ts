import type { Row } from '../row.js';

const LEASE_MS = 1_500;
/** What the README promises: `DRAIN_TIMEOUT_MS`, and a moment for the process to end. */
const DRAIN_LIMIT_MS = 12_000;

/** F15 and F17: a process of the service stands still, or is to end while Redis does. */
export const serviceFrozen: readonly Row[] = [
  {
    id: 'F15-frozen',
    what: 'one of 2 services stopped by SIGSTOP for twice a lease (3 s)',
    setup: { persistence: 'aof-everysec' },
    expect: {},
    inject: async (world) => {
      const service = world.random.pick(world.services);
      await world.fault('SIGSTOP of a service', {
        inject: () => {
          service.signal('SIGSTOP');
        },
        forMs: 2 * LEASE_MS,
        undo: () => {
          service.signal('SIGCONT');
        },
      });
    },
  },
  {
    id: 'F17-stuck',
    what: 'SIGTERM of a service while Redis is stopped by SIGSTOP; a new process when Redis goes on',
    setup: { persistence: 'aof-everysec' },
    expect: {},
    inject: async (world) => {
      const service = world.random.pick(world.services);
      const { running } = service;
      const what = 'SIGTERM while Redis is stuck';
      world.begin(what);
      world.redis.signal('SIGSTOP');
      const startMs = performance.now();
      running.signal('SIGTERM');
      const exit = await running.exited;
      const tookMs = performance.now() - startMs;
      world.claim('the process exits with 0', exit.code === 0);
      world.claim('within the time of a drain', tookMs < DRAIN_LIMIT_MS);
      world.figure('drained in', `${tookMs.toFixed(0)} ms`);
      world.redis.signal('SIGCONT');
      await service.startAgain();
      world.end(what);
    },
  },
];
