import { createClient } from 'redis';
import type { Scope } from './scope.js';
import type { BenchRedis } from './servers.js';

/** How many keys one script writes. */
const CHUNK = 10_000;

const COPY = `
for index = tonumber(ARGV[3]), tonumber(ARGV[4]) - 1 do
  redis.call('COPY', KEYS[1], ARGV[1] .. index .. ARGV[2], 'REPLACE')
end`;

/** The runner's own connection to a Redis: prepares what is measured, and asks what it cost. */
export interface DirectRedis {
  send(...command: readonly (string | Buffer)[]): Promise<unknown>;
  /**
   * Copies what stands at a key, with its expiry, to the keys that differ from it by the number: `from` up to `to`. Inside
   * Redis, as a million calls would take a minute. A copy that is not as large as what was copied is an error.
   */
  copyMany(keyOf: (index: number) => string, original: number, range: IndexRange): Promise<void>;
  usedBytes(): Promise<number>;
  /** From now on slow commands are noted and the time of each kind of command is kept. */
  watchCommands(): Promise<void>;
  /** Of those of the named commands that ran since then. */
  commandTimes(...names: readonly string[]): Promise<readonly CommandTimes[]>;
}

export interface IndexRange {
  readonly from: number;
  readonly to: number;
}

/** By Redis's own clock, so what the machine takes away from Redis meanwhile counts too. */
export interface CommandTimes {
  readonly name: string;
  readonly calls: number;
  readonly p99Ms: number;
  readonly longestMs: number;
  /** How many took longer than SLOW_MS. */
  readonly slow: number;
}

export const SLOW_MS = 5;
const MAX_SLOW = 10_000;

export async function openDirectRedis(scope: Scope, redis: BenchRedis): Promise<DirectRedis> {
  const client = createClient({ url: redis.tcpUrl, commandOptions: { timeout: 0 } });
  client.on('error', (error: Error) => {
    throw error;
  });
  await client.connect();
  scope.onClose(() => {
    client.destroy();
    return Promise.resolve();
  });
  const send = (...command: readonly (string | Buffer)[]): Promise<unknown> => client.sendCommand(command);
  const info = async (section: string): Promise<string> => String(await send('INFO', section));
  return {
    send,
    copyMany: async (keyOf, original, { from, to }) => {
      const source = keyOf(original);
      const [prefix = '', suffix = '', ...more] = source.split(String(original));
      if (more.length > 0) throw new Error(`${source} has its number more than once`);
      for (let start = from; start < to; start += CHUNK) {
        const end = Math.min(start + CHUNK, to);
        await send('EVAL', COPY, '1', source, prefix, suffix, String(start), String(end));
      }
      const bytesOf = (key: string): Promise<unknown> => send('MEMORY', 'USAGE', key);
      const last = keyOf(to - 1);
      if ((await bytesOf(last)) !== (await bytesOf(source))) throw new Error(`${last} is not as large as ${source}`);
    },
    usedBytes: async () => fieldOf(await info('memory'), 'used_memory:'),
    watchCommands: async () => {
      await send('CONFIG', 'SET', 'slowlog-log-slower-than', String(SLOW_MS * 1_000));
      await send('CONFIG', 'SET', 'slowlog-max-len', String(MAX_SLOW));
      // the 100th percentile is the longest
      await send('CONFIG', 'SET', 'latency-tracking-info-percentiles', '50 99 100');
      await send('SLOWLOG', 'RESET');
      await send('CONFIG', 'RESETSTAT');
    },
    commandTimes: async (...names) => {
      const percentiles = await info('latencystats');
      const counts = await info('commandstats');
      const slow = (await send('SLOWLOG', 'GET', String(MAX_SLOW))) as readonly (readonly unknown[])[];
      const slowNames = slow.map((entry) => String((entry[3] as readonly unknown[])[0]).toLowerCase());
      return names.flatMap((name) => {
        const pattern = new RegExp(`^latency_percentiles_usec_${name}:.*\\bp99=([\\d.]+),p100=([\\d.]+)`, 'm');
        const [, p99Us, longestUs] = pattern.exec(percentiles) ?? [];
        if (p99Us === undefined) return [];
        return {
          name,
          calls: fieldOf(counts, `cmdstat_${name}:calls=`),
          p99Ms: Number(p99Us) / 1_000,
          longestMs: Number(longestUs) / 1_000,
          slow: slowNames.filter((slowName) => slowName === name).length,
        };
      });
    },
  };
}

function fieldOf(info: string, name: string): number {
  const [, value] = new RegExp(`^${name}(\\d+)`, 'm').exec(info) ?? [];
  if (value === undefined) throw new Error(`INFO has no ${name}`);
  return Number(value);
}
