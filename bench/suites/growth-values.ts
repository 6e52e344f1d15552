import { startService, startStandalone } from '../harness/servers.js';
import { stepsOf, type SuiteContext } from '../harness/suite.js';
import { measureStep, stepPlot, stepTable, type Growth, type Step } from './growth-steps.js';

const VALUE_BYTES = [64, 256, 1_024, 4_096, 16_384, 65_536];
const KEY_COUNT = 200;

export async function growValues(context: SuiteContext): Promise<Growth> {
  const redis = await startStandalone(context.scope);
  const service = await startService(context.scope, { redis });
  const steps: Step[] = [];
  for (const valueBytes of stepsOf(VALUE_BYTES, context.pace)) {
    steps.push(await measureStep(context, valueBytes, { redis, service, plan: { keyCount: KEY_COUNT, valueBytes } }));
  }
  const title = 'Get by size of the value';
  return {
    note: `Values: Get, ${KEY_COUNT} keys, 64 in flight.`,
    tables: [stepTable(title, 'bytes', steps)],
    plots: [stepPlot('values', title, 'bytes of a value', steps)],
  };
}
