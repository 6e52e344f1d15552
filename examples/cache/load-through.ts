import { connect, type ShardkeepClient } from '../../src/client/index.js';
import { GetOrLeaseStatus as Status } from '../../src/gen/shardkeep/cache/v1/cache.js';

/** Reads a key, and where nobody has it loads it once for the whole fleet, whoever else asks meanwhile. */
async function loadThrough(
  cache: ShardkeepClient['cache'],
  key: string,
  { load, tags }: { readonly load: () => Promise<Buffer>; readonly tags: string[] },
): Promise<Buffer> {
  // the others wait up to 2 s for the one that loads; a loader that dies is followed by the next one after 5 s
  const found = await cache.getOrLease({ key, leaseMs: 5_000n, waitMs: 2_000n });
  // STALE too is good enough while somebody else loads; without a value in time everybody helps themselves
  if (found.status === Status.HIT || found.status === Status.STALE) return found.entry?.value ?? Buffer.alloc(0);
  if (found.status === Status.LOADING) return load();

  const { leaseToken } = found;
  try {
    const value = await load();
    const expiry = { $case: 'freshness', value: { freshMs: 60_000n, staleMs: 600_000n } } as const;
    // LEASE_LOST: what was just loaded was changed meanwhile; it is right for this caller and stored for nobody
    await cache.fill({ key, leaseToken, result: { $case: 'value', value }, expiry, tags, jitterPercent: 10 });
    return value;
  } catch (error) {
    // the others are told at once, and nobody tries again for a second
    await cache.failLease({ key, leaseToken, retryAfterMs: 1_000n });
    throw error;
  }
}

const shardkeep = connect(process.argv[2] ?? '127.0.0.1:50051', { timeoutMs: 3_000 });
const { cache } = shardkeep;
let loads = 0;
const board = {
  load: () => Promise.resolve(Buffer.from(`board ${String(++loads)}`)),
  tags: ['season:7'],
};
const leaderboard = (): Promise<Buffer> => loadThrough(cache, 'leaderboard:arena', board);

const answers = await Promise.all(Array.from({ length: 100 }, leaderboard));
console.log(`${String(answers.length)} callers, ${String(loads)} load: ${String(answers[0])}`);
await cache.invalidateTags({ tags: ['season:7'] });
console.log(`after the season: ${String(await leaderboard())}`);
await cache.delete({ keys: ['leaderboard:arena'] });
await shardkeep.close();
