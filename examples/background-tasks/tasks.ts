import { setTimeout as delay } from 'node:timers/promises';
import { CacheKeys, connect } from 'shardkeep/client';

const boards = ['global', 'weekly', 'guilds'];
const warmed = (type: string) => ({
  key: CacheKeys.leaderboard(type),
  loader: () => [`the best of ${type}`],
  ttlMs: 7_200_000,
});

const stop = new AbortController();
const shardkeep = connect(process.argv[2] ?? '127.0.0.1:50051', {
  // before the first player asks
  onBoot: async ({ cache }, signal) => {
    const done = await cache.warmMany(boards.map(warmed), { maxPerSecond: 50, signal });
    console.log(`at boot: ${String(done.warmed)} of ${String(done.total)} warmed`);
    stop.abort();
  },
});

/** Does something every so often until told to stop; what fails once is tried again the next time. */
async function every(intervalMs: number, signal: AbortSignal, task: () => Promise<void>): Promise<void> {
  while (!signal.aborted) {
    await task().catch(console.error);
    await delay(intervalMs, undefined, { signal }).catch(() => undefined);
  }
}

await shardkeep.cache.set(CacheKeys.temp('password_reset', 'ada'), 'a code', { ttlMs: 600_000 });
await Promise.all([
  every(300_000, stop.signal, async () => {
    const { deleted } = await shardkeep.cache.deletePattern('temp:*');
    const expired = await shardkeep.sessions.cleanupExpiredSessions();
    console.log(`cleaned up: ${String(deleted)} keys, ${String(expired)} sessions`);
  }),
  every(1_800_000, stop.signal, async () => {
    // however many servers run this, each board is loaded once
    const { warmed: count, skipped } = await shardkeep.cache.warmMany(boards.map(warmed));
    console.log(count + skipped === boards.length ? 'warmed, here or elsewhere' : 'some are missing');
  }),
]);
console.log((await shardkeep.cache.get<string[]>(CacheKeys.leaderboard('weekly')))?.[0]);
await shardkeep.close();
