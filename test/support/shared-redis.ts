import type { SharedRedis } from './redis-containers.js';
import { startCluster, startRedis } from './redis-server.js';

/** The Redis that the run shares: processes of this machine, or containers where REDIS_FIXTURE asks for them. */
export async function startSharedRedis(fixture = 'local'): Promise<SharedRedis> {
  switch (fixture) {
    case '':
    case 'local':
      return startProcesses();
    case 'testcontainers': {
      // loaded only when asked for: a run on processes needs no engine's client
      const { startContainers } = await import('./redis-containers.js');
      return startContainers(process.env.REDIS_IMAGE);
    }
    default:
      throw new Error(`REDIS_FIXTURE is '${fixture}'; it may be 'local' or 'testcontainers'`);
  }
}

/** A node that a busy machine stops for some seconds has not failed: no test that shares it wants another master. */
const NEVER_FAILS_OVER_MS = 120_000;

async function startProcesses(): Promise<SharedRedis> {
  const [standalone, cluster] = await Promise.all([startRedis(), startCluster(3, 1)]);
  for (const node of [...cluster.masters, ...cluster.replicas]) {
    await node.command('CONFIG', 'SET', 'cluster-node-timeout', String(NEVER_FAILS_OVER_MS));
  }
  return {
    standaloneUrl: standalone.url,
    clusterUrl: cluster.url,
    remove: async () => {
      await Promise.all([standalone.remove(), cluster.remove()]);
    },
  };
}
