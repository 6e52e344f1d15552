import { tsImport } from 'tsx/esm/api';
import { enterRunFolder, removeRunFolder } from './run-folder.mjs';

/** One standalone Redis and one Cluster of six for all tests that only need some Redis; each uses its own namespace. */
export default async function setup() {
  const folder = enterRunFolder();
  const { startSharedRedis } = await tsImport('./shared-redis.ts', import.meta.url);
  const shared = await startSharedRedis(process.env.REDIS_FIXTURE);
  process.env.TEST_STANDALONE_URL = shared.standaloneUrl;
  process.env.TEST_CLUSTER_URL = shared.clusterUrl;
  globalThis.endRun = async () => {
    await shared.remove();
    removeRunFolder(folder);
  };
}
