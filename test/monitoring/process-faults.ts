import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { samplesOf } from '../support/metrics.js';
import { until } from '../support/redis-server.js';
import { startServiceProcess, type ServiceProcess } from '../support/service-process.js';
import { sharedRedisUrl } from '../support/service.js';
import type { Series } from './promtool.js';
import { Tape } from './tape.js';

/** Faults that only a process of its own can have. */

/** Node reads its modules hundreds at a time. */
const MAX_OPEN_FILES = 512;
const FROZEN_MS = 250;
/** On a connection of its own: one that is kept may be closed just then. */
const FRESH = { headers: { connection: 'close' } };

export interface ProcessFault {
  readonly name: string;
  readonly alerts: readonly string[];
  /** Answers how to set it right. */
  begin(service: ServiceProcess, sample: (name: string) => Promise<number>): Promise<() => void>;
}

export const PROCESS_FAULTS: readonly ProcessFault[] = [
  {
    name: 'connections take all files that may be open',
    alerts: ['ShardkeepOpenFilesHigh'],
    begin: async ({ address }, sample) => {
      // not one more: a process that can open none at all closes what comes, also who asks for its metrics
      const wanted = Math.ceil(0.85 * MAX_OPEN_FILES);
      const missing = wanted - (await sample('open_fds'));
      const sockets = Array.from({ length: missing }, () =>
        connect(Number(address.split(':').at(-1)), '127.0.0.1').on('error', () => undefined),
      );
      await until(async () => (await sample('open_fds')) >= wanted);
      return () => {
        for (const socket of sockets) socket.destroy();
      };
    },
  },
  {
    name: 'the machine takes the processor away',
    alerts: ['ShardkeepEventLoopDelay'],
    begin: async (service) => {
      for (let time = 0; time < 4; time++) {
        service.signal('SIGSTOP');
        await sleep(FROZEN_MS);
        service.signal('SIGCONT');
        // it notices only when it runs
        await fetch(`http://${adminOf(service)}/health`, FRESH);
      }
      return () => undefined;
    },
  },
];

/** One process, before each fault and while it lasts. */
export async function recordProcessFaults(): Promise<ReadonlyMap<ProcessFault, Series>> {
  const service = await startServiceProcess(
    { REDIS_URL: sharedRedisUrl('standalone'), ADMIN_LISTEN: '127.0.0.1:0' },
    { under: ['/bin/sh', '-c', 'ulimit -n "$0" && exec "$@"', String(MAX_OPEN_FILES)] },
  );
  await service.log('admin port listening');
  const metrics = async (): Promise<string> => (await fetch(`http://${adminOf(service)}/metrics`, FRESH)).text();
  const sample = async (name: string): Promise<number> =>
    samplesOf(await metrics()).get(`shardkeep_process_${name}`) ?? Number.NaN;
  const tapes = new Map<ProcessFault, Series>();
  for (const fault of PROCESS_FAULTS) {
    const tape = new Tape(metrics);
    await tape.recordCalm();
    const end = await fault.begin(service, sample);
    await tape.recordFault();
    end();
    tapes.set(fault, tape.series());
  }
  await service.stop();
  return tapes;
}

function adminOf({ logs }: ServiceProcess): string {
  return String(logs.find(({ msg }) => msg === 'admin port listening')?.address);
}
