import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { LoadProcess } from '../harness/programs.js';
import { interleave } from '../harness/rounds.js';
import { sampleLoad } from '../harness/sample.js';
import { sampleTable } from '../harness/sample-table.js';
import { ROOT, startService, startStandalone } from '../harness/servers.js';
import type { SuiteContext } from '../harness/suite.js';
import type { LoadPlan } from '../programs/protocol.js';
import type { Growth } from './growth-steps.js';

const IN_FLIGHT_EACH = 128;

/** One worker and two, with the same two client processes. */
export async function growWorkers({ scope, pace }: SuiteContext): Promise<Growth> {
  if (!(await knowsWorkers())) {
    return { note: 'Workers: skipped, as this build has no setting WORKERS.', tables: [], plots: [] };
  }
  const redis = await startStandalone(scope);
  const start = async (workers: number) => {
    const service = await startService(scope, { redis, env: { WORKERS: String(workers) } });
    const plan: LoadPlan = {
      target: 'service-pipeline',
      address: service.address,
      workload: 'get',
      keyCount: 1_000,
      valueBytes: 200,
      connections: 4,
      latencies: false,
    };
    const clients = [await LoadProcess.start(scope, plan), await LoadProcess.start(scope, plan)];
    const watched = { client: clients.map(({ pid }) => pid), service: [service.pid], redis: redis.pids };
    return () => sampleLoad(clients, watched, { ...pace, inFlight: IN_FLIGHT_EACH });
  };
  const samples = await interleave(Math.min(3, pace.rounds), { one: await start(1), two: await start(2) });
  return {
    note:
      'Workers: pipelined Get from two client processes with four connections each. A worker more is a gain only where ' +
      'there is a processor for it besides those of the clients and Redis.',
    tables: [
      sampleTable('Workers', [
        { name: '2 workers', samples: samples.two, baseline: { name: '1 worker', samples: samples.one } },
        { name: '1 worker', samples: samples.one },
      ]),
    ],
    plots: [],
  };
}

/** Whether the built service reads the setting; one it does not know it would ignore. */
async function knowsWorkers(): Promise<boolean> {
  const folder = join(ROOT, 'dist/config');
  const files = (await readdir(folder)).filter((file) => file.endsWith('.js'));
  const texts = await Promise.all(files.map((file) => readFile(join(folder, file), 'utf8')));
  return texts.some((text) => /\bWORKERS\b/.test(text));
}
