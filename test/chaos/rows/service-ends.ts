import { setTimeout as sleep } from 'node:timers/promises';
import type { Moment } from '../fault-proxy.js';
import type { Row } from '../row.js';
import type { ServiceUnderChaos } from '../service-under-chaos.js';
import type { World } from '../world.js';

const KILLS = 5;
const MIDWAY_KILLS = 8;
const LEASE_MS = 800;

/** F14 and F16: processes of the service go, by force and in order. */
export const serviceEnds: readonly Row[] = [
  {
    id: 'F14-kill',
    what: '2 services, one at a time killed by kill -9 at random moments and started again, 5 times',
    setup: { persistence: 'aof-everysec' },
    expect: {},
    inject: async (world) => {
      const what = 'kill -9 of services';
      world.begin(what);
      for (let kill = 0; kill < KILLS; kill++) {
        await sleep(world.random.between(50, 800));
        const service = world.random.pick(world.services);
        await service.stop('SIGKILL');
        await service.startAgain();
      }
      world.end(what);
    },
  },
  {
    id: 'F14-midway',
    what: `2 services, one at a time killed by kill -9 when a script of its is on the way to Redis, or its answer on the way back, ${String(MIDWAY_KILLS)} times`,
    setup: { persistence: 'aof-everysec', networks: true },
    expect: {},
    inject: async (world) => {
      const what = 'kill -9 between a request to Redis and its answer';
      let lapsed = 0;
      world.begin(what);
      for (let kill = 0; kill < MIDWAY_KILLS; kill++) {
        const victim = kill % world.services.length;
        const { granted } = await leaveLock(world, victim, `left-${String(kill)}`);
        await killAt(world, victim, kill % 4 < 2 ? 'asked' : 'answered');
        await world.service(victim).startAgain();
        if (await granted) lapsed++;
      }
      world.end(what);
      world.claim('who waits for a lock of a caller that is gone gets it by lease', lapsed === MIDWAY_KILLS);
    },
  },
  {
    id: 'F16-rolling',
    what: '3 services behind one address, SIGTERM and a new process one after another',
    setup: { persistence: 'aof-everysec', services: 3, balanced: true },
    // callers with the SDK see nothing of it
    expect: { mayFailWith: [], recoveryMs: 0 },
    inject: async (world) => {
      const what = 'a rolling restart';
      world.begin(what);
      for (const service of world.services) await replace(world, service);
      world.end(what);
    },
  },
];

async function killAt(world: World, victim: number, moment: Moment): Promise<void> {
  const service = world.service(victim);
  const { exited } = service.running;
  await world.networks[victim]?.at(moment, () => {
    service.signal('SIGKILL');
  });
  await exited;
}

/** A caller of the victim has a lock and does nothing more; `granted` is whether one of another service gets it after that. */
async function leaveLock(world: World, victim: number, resource: string): Promise<{ granted: Promise<boolean> }> {
  const left = await world.client(victim).locks.acquireLock(resource, { ttlMs: LEASE_MS });
  if (left.status !== 'granted') throw new Error('nobody else wants it');
  const { fencingToken } = left.lock;
  const next = world.client(victim + 1).locks.acquireLock(resource, { ttlMs: LEASE_MS, waitMs: 2 * LEASE_MS });
  return {
    granted: next.then((answer) => answer.status === 'granted' && answer.lock.fencingToken > fencingToken),
  };
}

/** As Kubernetes does: the endpoint goes when the signal is sent, and is back when the new process is ready. */
async function replace(world: World, service: ServiceUnderChaos): Promise<void> {
  world.balancer.remove(service.port);
  const exit = await service.stop('SIGTERM');
  world.claim(`service ${String(service.number)} exits with 0`, exit?.code === 0);
  await service.startAgain();
  world.balancer.add(service.port);
}
