import { setTimeout as sleep } from 'node:timers/promises';
import { UnavailableError, type ShardkeepClient } from '../../../src/client/index.js';
import { DOWN_AFTER_MS } from '../../support/redis-sentinel.js';
import { until } from '../../support/redis-server.js';
import { whyNoSides } from '../network-sides.js';
import type { Row } from '../row.js';
import type { World } from '../world.js';

/** A master may take writes only while a replica has what it was told a second ago at most. */
const MAX_LAG_S = 1;
const MIN_REPLICAS = ['--min-replicas-to-write', '1', '--min-replicas-max-lag', String(MAX_LAG_S)];
/** The replica's word comes once a second, is believed for one more, and its age is looked at ten times in that. */
const BELIEVED_MS = 3_000;
const CUT_MS = 7_000;
const ASK_EVERY_MS = 50;
const ASK_TIMEOUT_MS = 1_000;
const [MINORITY, MAJORITY] = [0, 1] as const;

/** F4: a network between a master, one of three sentinels and a service, and two replicas, the other two and another one. */
export const partition: readonly Row[] = [
  {
    id: 'F4-partition',
    what: 'the wire is cut for 7 s between {master, a sentinel, a service, its callers} and {two replicas, two sentinels, a service, its callers}; `min-replicas-max-lag 1`',
    setup: { servicesLive: true, sides: true, redisFlags: MIN_REPLICAS, afterMs: 3_000 },
    expect: {
      // what the old master took before it refused, and both sides granted meanwhile
      mayLose: 0,
      mayLoseForMs: BELIEVED_MS,
      holdersMayOverlap: true,
      limitResets: 1,
      mayBeStale: MINORITY,
      recoveryMs: 2 * DOWN_AFTER_MS + 3_000,
    },
    skip: whyNoSides,
    inject: async (world) => {
      const { split } = world;
      const minority = new Writer(world, MINORITY);
      const majority = new Writer(world, MAJORITY);
      const what = 'the wire is cut';
      world.begin(what);
      const cutMs = performance.now();
      split.network.cut();
      await Promise.all([sleep(CUT_MS), until(() => majority.tookSince(cutMs + BELIEVED_MS) !== undefined)]);
      await Promise.all([minority.stop(), majority.stop()]);
      split.network.join();
      const joinedMs = performance.now();
      world.end(what);
      claimMinority(world, minority, cutMs);
      const took = majority.tookSince((majority.refusedSince(cutMs) ?? cutMs) + 1);
      world.figure('the majority took writes again after', `${((took ?? Infinity) - cutMs).toFixed(0)} ms`);
      const [old] = split.servers;
      await until(async () => String(await old?.command('INFO', 'replication')).includes('role:slave'));
      world.figure('the old master a replica after', `${(performance.now() - joinedMs).toFixed(0)} ms`);
    },
  },
];

function claimMinority(world: World, minority: Writer, cutMs: number): void {
  const tookMs = Math.max(0, ...minority.asked.filter(({ taken }) => taken).map(({ endMs }) => endMs - cutMs));
  const late = minority.asked.filter(({ startMs }) => startMs > cutMs + BELIEVED_MS);
  world.figure('the minority took writes for', `${tookMs.toFixed(0)} ms`);
  world.claim(
    'the minority answers writes with UNAVAILABLE when its master believes no replica any more',
    late.length > 0 && late.every(({ error }) => error instanceof UnavailableError),
  );
}

interface Asked {
  readonly startMs: number;
  readonly endMs: number;
  readonly taken: boolean;
  readonly error?: unknown;
}

/** Writes at one side, one after another. */
class Writer {
  readonly asked: Asked[] = [];
  private stopped = false;
  private readonly running: Promise<void>;

  constructor(world: World, side: number) {
    const cache = { onReadError: 'throw', onWriteError: 'throw', circuit: { failures: 1_000_000 } } as const;
    const client = world.client(side, { timeoutMs: ASK_TIMEOUT_MS, retry: { maxAttempts: 1 }, cache });
    this.running = this.run(client, `probe-${String(side)}`);
    world.onEnd(() => this.stop());
  }

  tookSince(ms: number): number | undefined {
    return this.asked.find(({ taken, startMs }) => taken && startMs >= ms)?.endMs;
  }

  refusedSince(ms: number): number | undefined {
    return this.asked.find(({ taken, endMs }) => !taken && endMs >= ms)?.endMs;
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await this.running;
  }

  private async run(client: ShardkeepClient, key: string): Promise<void> {
    while (!this.stopped) {
      const startMs = performance.now();
      const written = await client.cache.set(key, startMs, { ttlMs: 60_000 }).then(
        () => ({ taken: true }),
        (error: unknown) => ({ taken: false, error }),
      );
      this.asked.push({ startMs, endMs: performance.now(), ...written });
      await sleep(ASK_EVERY_MS);
    }
  }
}
