import { afterAll, describe, expect, test } from '@jest/globals';
import { canCompile } from '../support/clocked-redis.js';
import { hasOpenssl } from '../support/certificates.js';
import { killServiceProcesses } from '../support/service-process.js';
import { ACCESS_FAULTS } from './access-faults.js';
import { CLOCK_FAULTS } from './clock-faults.js';
import { COMMON_FAULTS } from './common-faults.js';
import { closePlace, FAULTS, startPlace, useAll, type Fault } from './faults.js';
import { PROCESS_FAULTS, recordProcessFaults } from './process-faults.js';
import { firingIn, withPromtool, type Series } from './promtool.js';
import { Tape, TAPE_MINUTES, TAPE_SAMPLE_SECONDS } from './tape.js';

/** What real services tell while they have real faults makes the alerts fire, those of their fault and no other. */

/** They tell how quick this machine is, and fire in a clean run where it is busy with something else. */
const OF_MACHINE = ['ShardkeepResponseTime', 'ShardkeepResponseTimeP99', 'ShardkeepRedisSlowOperations'];
const ROUNDS = 2;

const tapes: Record<string, Series> = {};

const ALL = [...FAULTS, ...COMMON_FAULTS, ...ACCESS_FAULTS, ...CLOCK_FAULTS];

afterAll(async () => {
  await killServiceProcesses();
  for (const place of new Set(ALL.map(({ place }) => place))) await place?.close();
});

async function record(fault: Fault): Promise<Series> {
  const place = await (fault.place?.open() ?? startPlace(fault));
  const { service } = place;
  const tape = new Tape(() => service.service.metrics.registry.metrics(), fault.minutes);
  const use = async (round: number): Promise<void> => {
    if (fault.isUsed !== false) await useAll(service, round);
  };
  try {
    await use(0);
    await tape.recordCalm();
    await fault.begin?.(place);
    for (let round = 1; round <= ROUNDS; round++) {
      await fault.goOn?.(place);
      await use(round);
      await tape.recordFault();
    }
  } finally {
    if (fault.place === undefined) await closePlace(place);
    else await fault.end?.(place);
  }
  return tape.series();
}

function keep(name: string, series: Series): void {
  expect(Object.keys(series).length).toBeGreaterThan(50);
  tapes[name] = { ...series, shardkeep_build_info: `1+0x${String(TAPE_MINUTES)}` };
}

describe.each([
  ['of Redis and callers', test, [...FAULTS, ...COMMON_FAULTS]],
  ['of access', hasOpenssl ? test : test.skip, ACCESS_FAULTS],
  ['of clocks', canCompile() ? test : test.skip, CLOCK_FAULTS],
])('%s', (_, testWhereThereIs, faults) => {
  testWhereThereIs.each(faults)('$name', async (fault) => {
    keep(fault.name, await record(fault));
  });
});

// eslint-disable-next-line jest/expect-expect -- `keep` does
test('of a process', async () => {
  for (const [{ name }, series] of await recordProcessFaults()) keep(name, series);
});

withPromtool('alerts fire for each of these, and for nothing none', async () => {
  const firing = await firingIn({ jobs: tapes, at: TAPE_MINUTES - 1, sampleSeconds: TAPE_SAMPLE_SECONDS });
  const expected: Readonly<Pick<Fault, 'name' | 'alerts' | 'perhaps'>>[] = [...ALL, ...PROCESS_FAULTS];
  const recorded = expected.filter(({ name }) => tapes[name] !== undefined);
  const fired = recorded.map(({ name, alerts, perhaps = [] }) => {
    const tolerated = [...perhaps, ...OF_MACHINE].filter((alert) => !alerts.includes(alert));
    return [name, (firing[name] ?? []).filter((alert) => !tolerated.includes(alert)).toSorted()];
  });
  expect(Object.fromEntries(fired)).toEqual(
    Object.fromEntries(recorded.map(({ name, alerts }) => [name, alerts.toSorted()])),
  );
});
