import { createClient } from 'redis';
import { keys } from '../../src/redis/keys.js';
import { cacheKey } from '../programs/fixtures.js';
import { NAMESPACE, type BenchRedis } from './servers.js';

/** How many keys one script writes. */
const CHUNK = 10_000;
const MARK = 815;

const FILL = `
local packed = redis.call('GET', KEYS[1])
for index = tonumber(ARGV[5]), tonumber(ARGV[6]) - 1 do
  redis.call('SET', ARGV[1] .. index .. ARGV[2], packed)
  redis.call('SET', ARGV[3] .. index .. ARGV[4], ARGV[7])
end`;

/**
 * Copies an entry that the service wrote to the keys `from` to `to`, and writes the same value for who reads without the
 * service. Inside Redis, as a million calls would take a minute.
 */
export async function preload(
  redis: BenchRedis,
  value: Buffer,
  range: { readonly from: number; readonly to: number },
): Promise<void> {
  const template = keys.cache(NAMESPACE, cacheKey(MARK));
  const [prefix = '', suffix = ''] = template.split(String(MARK));
  const [plainPrefix = '', plainSuffix = ''] = cacheKey(MARK).split(String(MARK));
  const client = createClient({ url: redis.tcpUrl, commandOptions: { timeout: 0 } });
  await client.connect();
  try {
    for (let from = range.from; from < range.to; from += CHUNK) {
      const to = Math.min(from + CHUNK, range.to);
      const args = [prefix, suffix, plainPrefix, plainSuffix, String(from), String(to), value];
      await client.sendCommand(['EVAL', FILL, '1', keys.cache(NAMESPACE, cacheKey(0)), ...args]);
    }
  } finally {
    client.destroy();
  }
}
