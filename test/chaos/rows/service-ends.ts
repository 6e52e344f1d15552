import { setTimeout as sleep } from 'node:timers/promises';
import type { Row } from '../row.js';
import type { ServiceUnderChaos } from '../service-under-chaos.js';
import type { World } from '../world.js';

const KILLS = 5;

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

/** As Kubernetes does: the endpoint goes when the signal is sent, and is back when the new process is ready. */
async function replace(world: World, service: ServiceUnderChaos): Promise<void> {
  world.balancer.remove(service.port);
  const exit = await service.stop('SIGTERM');
  world.claim(`service ${String(service.number)} exits with 0`, exit?.code === 0);
  await service.startAgain();
  world.balancer.add(service.port);
}
