import { createClient, createCluster } from 'redis';
import { BEST, failLoudly, redisAddress } from './best-settings.js';
import { openMixedByHand } from './by-hand-mixed.js';
import { CACHE_TTL_MS, cacheKeys, forEachOf, pick, valueOf, type Target } from './fixtures.js';
import { openLimitsByHand } from './limits-by-hand.js';
import type { LoadPlan } from './protocol.js';

/** The baseline: node-redis in the game server's own process, without a service between. */

interface Commands {
  get(key: string): Promise<string | Buffer | null>;
  set(key: string, value: Buffer): Promise<unknown>;
}

export async function openByHand(plan: LoadPlan): Promise<Target> {
  if (plan.workload === 'mixed') return openMixedByHand(plan);
  if (plan.workload === 'limits') return openLimitsByHand(plan);
  if (plan.workload !== 'get') throw new Error(`nothing written by hand for ${plan.workload}`);
  const best = plan.target === 'by-hand-best';
  const commands = await (plan.address.startsWith('redis+cluster:')
    ? openCluster(plan.address, best)
    : openStandalone(plan.address, best));
  const keys = cacheKeys(plan.keyCount);
  const value = valueOf(plan.valueBytes);
  if (plan.keysExist !== true) await forEachOf(keys, (key) => commands.set(key, value));
  const get = async (): Promise<void> => {
    if ((await commands.get(pick(keys))) === null) throw new Error('a key is missing');
  };
  return { operations: [get] };
}

async function openStandalone(address: string, best: boolean): Promise<Commands> {
  const client = best
    ? createClient({ ...BEST, ...redisAddress(address) })
    : createClient({ ...redisAddress(address) });
  await client.on('error', failLoudly).connect();
  return {
    get: (key) => client.get(key),
    set: (key, value) => client.set(key, value, { expiration: { type: 'PX', value: CACHE_TTL_MS } }),
  };
}

async function openCluster(address: string, best: boolean): Promise<Commands> {
  const hosts = address.slice('redis+cluster://'.length).split(',');
  const rootNodes = hosts.map((host) => ({ url: `redis://${host}` }));
  const { commandOptions, ...defaults } = BEST;
  const cluster = best ? createCluster({ rootNodes, defaults, commandOptions }) : createCluster({ rootNodes });
  await cluster.on('error', failLoudly).connect();
  return {
    get: (key) => cluster.get(key),
    set: (key, value) => cluster.set(key, value, { expiration: { type: 'PX', value: CACHE_TTL_MS } }),
  };
}
