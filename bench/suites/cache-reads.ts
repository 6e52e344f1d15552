import { LoadProcess } from '../harness/programs.js';
import { interleave } from '../harness/rounds.js';
import { sampleLoad, type Sample } from '../harness/sample.js';
import { cpuOf, rates, sampleTable, type TableRow } from '../harness/sample-table.js';
import { atLeast, atMost } from '../harness/section.js';
import { startService, startStandalone, type BenchRedis, type BenchService } from '../harness/servers.js';
import { ratio, spread } from '../harness/statistics.js';
import type { SuiteContext } from '../harness/suite.js';
import type { WorkloadName } from '../programs/protocol.js';
import { connectService } from '../programs/service-client.js';
import { VALUE_BYTES, type CachePart } from './cache-part.js';

const KEY_COUNT = 1_000;
const IN_FLIGHT = 64;
const NEAR_CACHE_BYTES = 64 * 2 ** 20;
const INVALIDATIONS_PER_SECOND = 100;
const CHURNED_TAGS = 100;
const GOALS = { tagged: 0.75, near: 1, nearRedisUs: 0.1, getOrLease: 0.75, whileInvalidating: 0.9 } as const;

interface Reader {
  readonly service: BenchService;
  readonly sample: () => Promise<Sample>;
}

export async function measureReads(context: SuiteContext): Promise<CachePart> {
  const { scope, pace } = context;
  const redis = await startStandalone(scope);
  // a service of its own each: one that has seen a tagged entry lately asks for the clock of tags with every read
  const get = await startReader(context, redis, 'get');
  const tagged = await startReader(context, redis, 'getTagged');
  const near = await startReader(context, redis, 'getNear', { NEAR_CACHE_MAX_BYTES: String(NEAR_CACHE_BYTES) });
  const getOrLease = await startReader(context, redis, 'getOrLease');
  const byHand = await LoadProcess.start(scope, {
    ...PLAN,
    target: 'by-hand-best',
    address: redis.url,
    workload: 'get',
  });
  const invalidator = startInvalidator(context, tagged.service);
  const samples = await interleave(pace.rounds, {
    best: () => sampleLoad([byHand], { client: [byHand.pid], redis: redis.pids }, { ...pace, inFlight: IN_FLIGHT }),
    get: get.sample,
    tagged: tagged.sample,
    near: near.sample,
    getOrLease: getOrLease.sample,
    whileInvalidating: () => invalidator.during(tagged.sample),
  });

  const rateOf = (name: keyof typeof samples): number[] => rates(samples[name]);
  const row = (
    name: string,
    of: keyof typeof samples,
    baseline: keyof typeof samples,
    baselineName: string,
  ): TableRow => ({
    name,
    samples: samples[of],
    baseline: { name: baselineName, samples: samples[baseline] },
  });
  const toBest = (name: string, of: keyof typeof samples): TableRow => row(name, of, 'best', 'node-redis');
  const toGet = (name: string, of: keyof typeof samples): TableRow => row(name, of, 'get', 'Get');
  const during = `${INVALIDATIONS_PER_SECOND} InvalidateTags a second`;
  return {
    note:
      `Reads: ${KEY_COUNT} keys of ${VALUE_BYTES} bytes at random, every one a hit, ${IN_FLIGHT} in flight from one ` +
      'process by the SDK, unix sockets; against GET by node-redis in process at its best settings. Tagged: entries with ' +
      'one tag; a read asks for the clock of tags in the same trip. Near: CONSISTENCY_NEAR with a near cache in the ' +
      `service that holds all keys. While invalidating: another client invalidates ${CHURNED_TAGS} other tags in turn, ` +
      `${INVALIDATIONS_PER_SECOND} times a second, so that the clock of tags moves under the reads of tagged entries.`,
    goals: [
      atLeast('tagged Get ÷ Get', GOALS.tagged, ratio(rateOf('tagged'), rateOf('get'))),
      atLeast('near Get ÷ Get', GOALS.near, ratio(rateOf('near'), rateOf('get'))),
      atMost('Redis CPU µs per near Get', GOALS.nearRedisUs, spread(cpuOf(samples.near, 'redis')), ' µs'),
      atLeast('GetOrLease that hits ÷ Get', GOALS.getOrLease, ratio(rateOf('getOrLease'), rateOf('get'))),
      atLeast(
        `tagged Get during ${during} ÷ without`,
        GOALS.whileInvalidating,
        ratio(rateOf('whileInvalidating'), rateOf('tagged')),
      ),
    ],
    tables: [
      sampleTable('Kinds of read against GET by hand', [
        toBest('Get', 'get'),
        toBest('tagged Get', 'tagged'),
        toBest('near Get', 'near'),
        toBest('GetOrLease that hits', 'getOrLease'),
        { name: 'node-redis best GET', samples: samples.best },
      ]),
      sampleTable('Kinds of read against Get', [
        toGet('tagged Get', 'tagged'),
        toGet('near Get', 'near'),
        toGet('GetOrLease that hits', 'getOrLease'),
        row(`tagged Get during ${during}`, 'whileInvalidating', 'tagged', 'without'),
      ]),
    ],
    plots: [],
  };
}

const PLAN = { keyCount: KEY_COUNT, valueBytes: VALUE_BYTES, connections: 1, latencies: false } as const;

async function startReader(
  { scope, pace }: SuiteContext,
  redis: BenchRedis,
  workload: WorkloadName,
  env: Readonly<Record<string, string>> = {},
): Promise<Reader> {
  const service = await startService(scope, { redis, env });
  const target = 'service-pipeline';
  const client = await LoadProcess.start(scope, { ...PLAN, target, address: service.address, workload });
  const watched = { client: [client.pid], service: [service.pid], redis: redis.pids };
  return { service, sample: () => sampleLoad([client], watched, { ...pace, inFlight: IN_FLIGHT }) };
}

interface Invalidator {
  /** Invalidates tags while something runs. */
  during<Result>(run: () => Promise<Result>): Promise<Result>;
}

/** At least this share of the invalidations must be sent, or the reads had it easier than is said. */
const LEAST_SENT = 0.9;

function startInvalidator({ scope }: SuiteContext, service: BenchService): Invalidator {
  const client = connectService(service.address, 'service-pipeline');
  const { cache } = client;
  scope.onClose(() => client.close());
  return {
    during: async (run) => {
      const startedAt = performance.now();
      const sent: Promise<unknown>[] = [];
      const due = (): number => ((performance.now() - startedAt) * INVALIDATIONS_PER_SECOND) / 1_000;
      // one at a time, so that each moves the clock
      const timer = setInterval(
        () => {
          if (sent.length < due()) sent.push(cache.invalidateTags({ tags: [`churn:${sent.length % CHURNED_TAGS}`] }));
        },
        1_000 / INVALIDATIONS_PER_SECOND / 2,
      );
      try {
        const result = await run();
        if (sent.length < due() * LEAST_SENT) throw new Error('too few invalidations were sent');
        return result;
      } finally {
        clearInterval(timer);
        await Promise.all(sent);
      }
    },
  };
}
