import { keys } from '../../src/redis/keys.js';
import { openDirectRedis } from '../harness/direct-redis.js';
import type { GoalResult } from '../harness/section.js';
import { startService, startStandalone } from '../harness/servers.js';
import type { SuiteContext } from '../harness/suite.js';
import { valueOf } from '../programs/fixtures.js';
import { connectService } from '../programs/service-client.js';
import { FIRST, formatCount, LIFETIME, LIFETIME_MS, VALUE_BYTES, type CachePart } from './cache-part.js';

const ENTRIES = 1_000_000;
const FEWER_ENTRIES = 100_000;
const GOAL_BYTES = 420;
/** The default of the service, as users have it. */
const NAMESPACE = 'aeturnis';
const keyOf = (index: number): string => `player:${index}:profile`;
const redisKeyOf = (index: number): string => keys.cache(NAMESPACE, keyOf(index));

export async function measureMemory({ scope, pace }: SuiteContext): Promise<CachePart> {
  const count = pace.quick ? FEWER_ENTRIES : ENTRIES;
  const redis = await startStandalone(scope);
  const service = await startService(scope, { redis, env: { NAMESPACE } });
  const direct = await openDirectRedis(scope, redis);
  const client = connectService(service.address, 'service-pipeline');
  scope.onClose(() => client.close());
  const { cache } = client;
  const value = valueOf(VALUE_BYTES);
  const lifetimeMs = String(LIFETIME_MS);
  const key = redisKeyOf(FIRST);
  const now = String(Date.now());

  const writers: Readonly<Record<string, () => Promise<unknown>>> = {
    [OURS]: () => cache.set({ key: keyOf(FIRST), value, expiry: LIFETIME }),
    'entry with one tag, `guild:1815`': () =>
      cache.set({ key: keyOf(FIRST), value, expiry: LIFETIME, tags: ['guild:1815'] }),
    'hash of value, version, created_at and expires_at': async () => {
      const fields = ['value', value, 'version', `${now}000`, 'created_at', now, 'expires_at', now];
      await direct.send('HSET', key, ...fields);
      await direct.send('PEXPIRE', key, lifetimeMs);
    },
    '`SET key value PX` of the value alone': () => direct.send('SET', key, value, 'PX', lifetimeMs),
  };
  const bytes = new Map<string, number>();
  for (const [name, write] of Object.entries(writers)) {
    await direct.send('FLUSHALL', 'SYNC');
    const before = await direct.usedBytes();
    await write();
    await direct.copyMany(redisKeyOf, FIRST, { from: FIRST + 1, to: FIRST + count });
    bytes.set(name, ((await direct.usedBytes()) - before) / count);
  }
  const ours = bytes.get(OURS) ?? Number.NaN;
  const goal: GoalResult = {
    what: `memory per entry of ${VALUE_BYTES} bytes, without tags`,
    goal: `≤ ${GOAL_BYTES} B`,
    measured: `${Math.round(ours)} B`,
    met: ours <= GOAL_BYTES,
  };
  return {
    note:
      `Memory: what used_memory of Redis grows by, divided by ${formatCount(count)} keys such as \`${key}\` ` +
      `(${key.length} bytes), each with a value of ${VALUE_BYTES} bytes and an expiry. So Redis’s own tables are in it.`,
    goals: [goal],
    tables: [
      {
        title: `Memory of ${formatCount(count)} entries`,
        columns: ['form', 'bytes each', '÷ entry'],
        rows: [...bytes].map(([name, each]) => [name, String(Math.round(each)), (each / ours).toFixed(2)]),
      },
    ],
    plots: [],
  };
}

const OURS = 'entry, as Set writes it';
