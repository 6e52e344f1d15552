import { connect, RpcEnums, type Rpc } from 'shardkeep/client';

const { GetOrLeaseStatus: Status } = RpcEnums;

interface Source {
  /** Undefined: there is no such thing, which is remembered too. */
  readonly load: () => Promise<Buffer | undefined>;
  readonly tags: string[];
}

/** Reads a key, and where nobody has it loads it once for the whole fleet, whoever else asks meanwhile. */
async function loadThrough(cache: Rpc['cache'], key: string, source: Source): Promise<Buffer | undefined> {
  // the others wait up to 2 s for the one that loads; a loader that dies is followed by the next one after 5 s
  const found = await cache.getOrLease({ key, leaseMs: 5_000n, waitMs: 2_000n });
  // STALE too is good enough while somebody else loads
  if (found.status === Status.HIT || found.status === Status.STALE) return found.entry?.value;
  // nothing came in time, so everybody helps themselves
  if (found.status === Status.LOADING) return source.load();

  const { leaseToken } = found;
  let value: Buffer | undefined;
  try {
    value = await source.load();
  } catch (error) {
    // those who wait are told at once, and nobody tries again for a second
    await cache.failLease({ key, leaseToken, retryAfterMs: 1_000n }).catch(console.warn);
    if (found.entry === undefined) throw error;
    return found.entry.value;
  }
  const result =
    value === undefined ? ({ $case: 'absent', value: true } as const) : ({ $case: 'value', value } as const);
  const expiry = { $case: 'freshness', value: { freshMs: 60_000n, staleMs: 600_000n } } as const;
  // LEASE_LOST, where it was changed meanwhile, and a failure to store it, leave it right for this caller
  await cache.fill({ key, leaseToken, result, expiry, tags: source.tags, jitterPercent: 10 }).catch(console.warn);
  return value;
}

const shardkeep = connect(process.argv[2] ?? '127.0.0.1:50051', { timeoutMs: 3_000 });
const { cache } = shardkeep.rpc;
let loads = 0;
const board: Source = {
  load: () => Promise.resolve(Buffer.from(`board ${String(++loads)}`)),
  tags: ['season:7'],
};
const leaderboard = (): Promise<Buffer | undefined> => loadThrough(cache, 'leaderboard:arena', board);

const answers = await Promise.all(Array.from({ length: 100 }, leaderboard));
console.log(`${String(answers.length)} callers, ${String(loads)} load: ${String(answers[0])}`);
await cache.invalidateTags({ tags: ['season:7'] });
console.log(`after the season: ${String(await leaderboard())}`);
await cache.delete({ keys: ['leaderboard:arena'] });
await shardkeep.close();
