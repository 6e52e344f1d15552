import { connect } from '../../src/client/index.js';

/** A game server that asks for one key a thousand times over at once, and tells how often its loader ran and what came. */

const [, , address = '', key = '', calls = ''] = process.argv;
const shardkeep = connect(address, { timeoutMs: 30_000 });
let loads = 0;

const loader = async (): Promise<string> => {
  loads++;
  // from here on: what it was told before is to start
  const untilTold = new Promise((resolve) => process.once('message', resolve));
  // the slowest source there could be: all callers of all processes are there
  process.send?.('loading');
  await untilTold;
  return `loaded by ${String(process.pid)}`;
};

const start = new Promise((resolve) => process.once('message', resolve));
await shardkeep.health.check();
process.send?.('ready');
await start;
const answers = Array.from({ length: Number(calls) }, () =>
  shardkeep.cache.cacheAside(key, loader, { ttlMs: 60_000, waitMs: 60_000 }),
);
process.send?.('asked');
const values = new Set(await Promise.all(answers));
process.send?.({ loads, values: [...values] });
await shardkeep.close();
