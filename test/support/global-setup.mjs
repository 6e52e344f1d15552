import { tsImport } from 'tsx/esm/api';

/** One standalone Redis and one Cluster of six for all tests that only need some Redis; each uses its own namespace. */
export default async function setup() {
  const { startRedis, startCluster } = await tsImport('./redis-server.ts', import.meta.url);
  const [standalone, cluster] = await Promise.all([startRedis(), startCluster(3, 1)]);
  process.env.TEST_STANDALONE_URL = standalone.url;
  process.env.TEST_CLUSTER_URL = cluster.url;
  globalThis.removeSharedRedis = () => Promise.all([standalone.remove(), cluster.remove()]);
}
