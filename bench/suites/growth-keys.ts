import { startService, startStandalone } from '../harness/servers.js';
import { preload } from '../harness/preload.js';
import { LoadProcess } from '../harness/programs.js';
import { stepsOf, type SuiteContext } from '../harness/suite.js';
import { valueOf } from '../programs/fixtures.js';
import { measureStep, stepPlot, stepTable, type Growth, type Step } from './growth-steps.js';

const KEY_COUNTS = [1_000, 10_000, 100_000, 1_000_000];
const VALUE_BYTES = 200;

export async function growKeys(context: SuiteContext): Promise<Growth> {
  const { scope } = context;
  const redis = await startStandalone(scope);
  const service = await startService(scope, { redis });
  const writer = await LoadProcess.start(scope, {
    target: 'service-pipeline',
    address: service.address,
    workload: 'set',
    keyCount: 1,
    valueBytes: VALUE_BYTES,
    connections: 1,
    latencies: false,
  });
  await writer.close();
  const steps: Step[] = [];
  let written = 0;
  for (const keyCount of stepsOf(KEY_COUNTS, context.pace)) {
    await preload(redis, valueOf(VALUE_BYTES), { from: written, to: keyCount });
    written = keyCount;
    const plan = { keyCount, valueBytes: VALUE_BYTES, keysExist: true };
    steps.push(await measureStep(context, keyCount, { redis, service, plan }));
  }
  const title = 'Get by number of keys';
  return {
    note: `Keys: Get of ${VALUE_BYTES}-byte values, 64 in flight, keys at random out of all there are.`,
    tables: [stepTable(title, 'keys', steps)],
    plots: [stepPlot('keys', title, 'keys', steps)],
  };
}
