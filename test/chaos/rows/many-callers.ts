import { setTimeout as sleep } from 'node:timers/promises';
import { InvalidArgumentError, type ShardkeepClient } from '../../../src/client/index.js';
import { scrape } from '../../support/metrics.js';
import type { Row } from '../row.js';
import type { World } from '../world.js';

const DOWN_MS = 10_000;
const STORM_CLIENTS = 50;
const STORM_REST_MS = 200;
/** Half of the SDK's budget: what one client that makes one call after another may add to an outage. */
const RETRIES_OF_A_CLIENT = 5;
const MAX_ATTEMPTS_A_CALL = 1.1;
const HERD = 1_000;
const HERD_CLIENTS = 10;
const LOAD_MS = 200;
const HOT_READS = 100;
const HOT_AT_ONCE = 5;
const MAX_VALUE_BYTES = 1_048_576;

const strict = { onReadError: 'throw', onWriteError: 'throw', circuit: { failures: 1_000_000 } } as const;

/** F21 to F23: everybody wants the same, or everybody tries again. */
export const manyCallers: readonly Row[] = [
  {
    id: 'F21-hot',
    what: `${String(2 * HOT_READS)} reads of one value of the largest size, ${String(2 * HOT_AT_ONCE)} at once`,
    setup: { servicesLive: true },
    expect: { mayFailWith: [], recoveryMs: 0 },
    inject: async (world) => {
      const clients = world.services.map((_, index) => world.client(index, { timeoutMs: 10_000, cache: strict }));
      const [first] = clients;
      // base64 in JSON: two quotes, and no gzip makes it smaller
      const value = 'x'.repeat(MAX_VALUE_BYTES - 2);
      const plain = first?.cache.with({ compressAboveBytes: Infinity });
      await plain?.set('hot', value, { ttlMs: 60_000 });
      const tooLarge = await plain?.set('hotter', `${value}x`, { ttlMs: 60_000 }).catch((error: unknown) => error);
      world.claim('a value above the largest size is refused', tooLarge instanceof InvalidArgumentError);
      world.begin('a hot key');
      const readers = clients.flatMap((client) => Array.from({ length: HOT_AT_ONCE }, () => client));
      let whole = 0;
      await Promise.all(
        readers.map(async (client) => {
          for (let read = 0; read < HOT_READS / HOT_AT_ONCE; read++) {
            const got = await client.cache.get<string>('hot');
            if (got?.length === value.length) whole++;
          }
        }),
      );
      world.end('a hot key');
      world.claim('every read has the whole value', whole === 2 * HOT_READS);
    },
  },
  {
    id: 'F22-herd',
    what: `${String(HERD)} callers of ${String(HERD_CLIENTS)} clients miss one key at once, which takes 200 ms to load`,
    setup: { servicesLive: true },
    expect: { mayFailWith: [], recoveryMs: 0 },
    inject: async (world) => {
      const clients = Array.from({ length: HERD_CLIENTS }, (_, index) => world.client(index, { timeoutMs: 10_000 }));
      let loads = 0;
      const load = async (): Promise<string> => {
        loads++;
        await sleep(LOAD_MS);
        return 'loaded';
      };
      world.begin('a herd');
      const callers = Array.from({ length: HERD / HERD_CLIENTS }, () => clients).flat();
      const answers = await Promise.all(
        callers.map((client) => client.cache.cacheAside('herd', load, { ttlMs: 60_000 })),
      );
      world.end('a herd');
      world.claim(
        'everybody has the value',
        answers.every((answer) => answer === 'loaded'),
      );
      world.claim('one of all loads it', loads === 1);
      world.figure('loads', loads);
    },
  },
  {
    id: 'F23-storm',
    what: `Redis killed for 10 s, ${String(STORM_CLIENTS)} more clients that try again`,
    setup: { servicesLive: true, persistence: 'aof-always', serviceEnv: { ADMIN_LISTEN: '127.0.0.1:0' } },
    expect: {},
    inject: async (world) => {
      const storm = new Storm(world);
      await world.calm(1_000);
      await world.fault('kill -9 of Redis', {
        inject: () => world.redis.stop('SIGKILL'),
        forMs: DOWN_MS,
        undo: () => world.redis.restart(),
      });
      await world.calm(2_000);
      await storm.stop();
      const retries = (await attempts(world)) - storm.calls;
      world.figure('retries of each client', (retries / STORM_CLIENTS).toFixed(1));
      world.figure('attempts for each call', (1 + retries / storm.calls).toFixed(3));
      world.claim('a client adds no more than its budget', retries <= RETRIES_OF_A_CLIENT * STORM_CLIENTS);
      world.claim('retries add no more than a tenth', 1 + retries / storm.calls <= MAX_ATTEMPTS_A_CALL);
    },
  },
];

/** Clients that read without a rest that is worth the name, and try again as the SDK does by itself. */
class Storm {
  calls = 0;
  private stopped = false;
  private readonly running: Promise<unknown>;

  constructor(world: World) {
    const clients = Array.from({ length: STORM_CLIENTS }, (_, index) => world.client(index, { cache: strict }));
    this.running = Promise.all(clients.map((client) => this.run(client)));
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await this.running;
  }

  private async run(client: ShardkeepClient): Promise<void> {
    while (!this.stopped) {
      await client.cache.getTtl('storm').catch(() => undefined);
      this.calls++;
      await sleep(STORM_REST_MS);
    }
  }
}

/** How many calls of the storm the services have ended, however; nobody else asks this. */
async function attempts(world: World): Promise<number> {
  const samples = await Promise.all(
    world.services.map(({ running }) => {
      const address = running.logs.find(({ msg }) => msg === 'admin port listening')?.address;
      return scrape(String(address));
    }),
  );
  return samples
    .flatMap((sample) => [...sample])
    .filter(([name]) => name.startsWith('shardkeep_rpc_handled_total') && name.includes('/GetTtl"'))
    .reduce((sum, [, count]) => sum + count, 0);
}
