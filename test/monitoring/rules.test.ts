import { expect, test } from '@jest/globals';
import {
  ALERT_CASES,
  LOOK_AT_MINUTES,
  SLOW_CASES,
  SLOW_LOOK_AT_MINUTES,
  SLOW_SAMPLE_SECONDS,
  type AlertCase,
} from './alert-cases.js';
import { firingIn, runPromtool, withPromtool, type Simulation } from './promtool.js';
import { ALERTS, RULES_FILE } from './rule-files.js';

/** Each alert fires for its cause, and not for what comes close to it. */

test('there is a case for every alert, and no other', () => {
  const names = ALERTS.map(({ alert }) => alert);
  expect(new Set(names).size).toBe(names.length);
  expect([...Object.keys(ALERT_CASES), ...Object.keys(SLOW_CASES)].toSorted()).toEqual(names.toSorted());
});

const ALIVE = { shardkeep_build_info: '1+0x400' };
/** Without a process there is no job to tell. */
const WITHOUT_JOB = 'ShardkeepAbsent';

/** Each alert fires in a job of its name, and comes close in another. */
async function mustFireAlone(
  cases: Readonly<Record<string, AlertCase>>,
  look: Omit<Simulation, 'jobs'>,
): Promise<void> {
  const entries = Object.entries(cases).filter(([alert]) => alert !== WITHOUT_JOB);
  const jobs = entries.flatMap(([alert, { fires, silent }]) => [
    [alert, { ...ALIVE, ...fires }],
    [`nearly ${alert}`, { ...ALIVE, ...silent }],
  ]);
  const firing = await firingIn({ ...look, jobs: Object.fromEntries(jobs) as Simulation['jobs'] });
  expect(firing).toEqual(Object.fromEntries(entries.map(([alert]) => [alert, [alert]])));
}

withPromtool('Prometheus takes the rules', async () => {
  expect(await runPromtool('check', 'rules', RULES_FILE)).toContain('SUCCESS');
});

withPromtool('each alert fires for its cause and alone, and is silent for what comes close', async () => {
  await mustFireAlone(ALERT_CASES, { at: LOOK_AT_MINUTES });
});

withPromtool('what is usual is learnt from the days before', async () => {
  await mustFireAlone(SLOW_CASES, { at: SLOW_LOOK_AT_MINUTES, sampleSeconds: SLOW_SAMPLE_SECONDS });
});

withPromtool('that nothing answers is told, by no job', async () => {
  const { fires } = ALERT_CASES[WITHOUT_JOB] ?? { fires: {} };
  expect(await firingIn({ jobs: { a: fires }, at: LOOK_AT_MINUTES })).toEqual({ '': [WITHOUT_JOB] });
  expect(await firingIn({ jobs: { a: ALIVE }, at: LOOK_AT_MINUTES })).toEqual({});
});
