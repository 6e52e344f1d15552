import { expect, test } from '@jest/globals';
import { FAULTS, startPlace, useAll, type Fault } from './faults.js';
import { firingIn, withPromtool, type Series } from './promtool.js';
import { Tape, TAPE_MINUTES, TAPE_SAMPLE_SECONDS } from './tape.js';

/** What real services tell while they have real faults makes the alerts fire, those of their fault and no other. */

/** They tell how quick this machine is, and fire in a clean run where it is busy with something else. */
const OF_MACHINE = ['ShardkeepResponseTime', 'ShardkeepResponseTimeP99', 'ShardkeepRedisSlowOperations'];
const ROUNDS = 1;

const tapes: Record<string, Series> = {};

async function record(fault: Fault): Promise<Series> {
  const place = await startPlace(fault);
  const { service, redis } = place;
  const tape = new Tape(() => service.service.metrics.registry.metrics());
  try {
    for (let round = 0; round <= ROUNDS; round++) {
      await useAll(service, round);
      await tape.recordCalm();
    }
    await fault.begin?.(place);
    for (let round = 0; round <= ROUNDS; round++) {
      await fault.goOn?.(place);
      await useAll(service, ROUNDS + 1 + round);
      await tape.recordFault();
    }
  } finally {
    await service.stop();
    await redis.remove();
  }
  return tape.series();
}

test.each(FAULTS)('$name', async (fault) => {
  const series = await record(fault);
  expect(Object.keys(series).length).toBeGreaterThan(50);
  tapes[fault.name] = { ...series, shardkeep_build_info: `1+0x${String(TAPE_MINUTES)}` };
});

withPromtool('alerts fire for each of these, and for nothing none', async () => {
  const firing = await firingIn({ jobs: tapes, at: TAPE_MINUTES - 1, sampleSeconds: TAPE_SAMPLE_SECONDS });
  for (const { name, alerts, perhaps = [] } of FAULTS) {
    const tolerated = [...perhaps, ...OF_MACHINE].filter((alert) => !alerts.includes(alert));
    const fired = firing[name]?.filter((alert) => !tolerated.includes(alert)) ?? [];
    expect({ name, fired: fired.toSorted() }).toEqual({ name, fired: alerts.toSorted() });
  }
});
