import { setTimeout as sleep } from 'node:timers/promises';
import { lineChart } from '../harness/line-chart.js';
import { countSockets } from '../harness/open-sockets.js';
import { LoadProcess } from '../harness/programs.js';
import { sampleLoad, type Sample } from '../harness/sample.js';
import { rates, sampleTable } from '../harness/sample-table.js';
import { startService, startStandalone } from '../harness/servers.js';
import { median } from '../harness/statistics.js';
import { stepsOf, type SuiteContext } from '../harness/suite.js';
import type { Growth } from './growth-steps.js';

const CONNECTIONS = [1, 10, 100, 1_000];
const MOST_PROCESSES = 2;
/** In all, whatever the number of connections; one each at the most of them. */
const IN_FLIGHT = 1_000;

export async function growConnections({ scope, pace }: SuiteContext): Promise<Growth> {
  const redis = await startStandalone(scope);
  const service = await startService(scope, { redis });
  const steps: { connections: number; samples: Sample[] }[] = [];
  let shared = '';
  for (const connections of stepsOf(CONNECTIONS, pace)) {
    const processes: LoadProcess[] = [];
    const socketsBefore = countSockets(service.pid);
    const count = Math.min(MOST_PROCESSES, connections);
    for (let index = 0; index < count; index++) {
      const plan = {
        target: 'service-pipeline',
        address: service.address,
        workload: 'get',
        keyCount: 1_000,
        valueBytes: 200,
        connections: connections / count,
        latencies: false,
      } as const;
      processes.push(await LoadProcess.start(scope, plan));
    }
    const watched = { client: processes.map(({ pid }) => pid), service: [service.pid], redis: redis.pids };
    const samples: Sample[] = [];
    for (let round = 0; round < Math.min(3, pace.rounds); round++) {
      samples.push(await sampleLoad(processes, watched, { ...pace, inFlight: IN_FLIGHT / count }));
    }
    const opened = countSockets(service.pid) - socketsBefore;
    for (const process of processes) await process.close();
    if (opened < connections) {
      shared = ` Stopped at ${connections}: the clients opened ${opened} connections, as those of one process share one.`;
      break;
    }
    steps.push({ connections, samples });
    await untilClosed(service.pid, socketsBefore);
  }
  const title = 'Get by number of connections';
  const points = steps.map(({ connections, samples }) => ({ x: connections, y: median(rates(samples)) }));
  return {
    note:
      `Connections: pipelined Get with ${IN_FLIGHT.toLocaleString('en-US')} calls in flight in all, spread over so many ` +
      `connections of at most ${MOST_PROCESSES} client processes. The more there are, the fewer calls share a frame.${shared}`,
    tables: [
      sampleTable(
        title,
        steps.map(({ connections, samples }) => ({ name: connections.toLocaleString('en-US'), samples })),
      ),
    ],
    plots: [
      {
        name: 'connections',
        title,
        svg: lineChart([{ name: 'SDK', points }], { title, xLabel: 'connections', yLabel: 'ops/s' }),
      },
    ],
  };
}

/** Connections that are still closing would count as opened by the next step. */
async function untilClosed(pid: number, sockets: number): Promise<void> {
  while (countSockets(pid) > sockets) await sleep(50);
}
