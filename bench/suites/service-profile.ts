import { monotonicUs, readCpuProfile } from '../harness/cpu-profile.js';
import type { LoadProcess } from '../harness/programs.js';
import { sampleSpan } from '../harness/sample.js';
import type { Table } from '../harness/section.js';
import type { BenchService } from '../harness/servers.js';
import type { SuiteContext } from '../harness/suite.js';

const TOP = 10;

/** What is profiled: a service that node is to watch, and who loads it. */
export interface ProfiledLoad {
  readonly inFlight: number;
  readonly start: (nodeArgs: readonly string[]) => Promise<BenchService>;
  readonly load: (service: BenchService) => Promise<LoadProcess>;
}

/** Where the time of one call goes: the first functions and files by self time. */
export async function profileService(
  { scope, pace, say }: SuiteContext,
  what: string,
  { inFlight, start, load }: ProfiledLoad,
): Promise<Table[]> {
  say(`profile of ${what}`);
  const folder = await scope.folder();
  const service = await start(['--cpu-prof', '--cpu-prof-interval=200', `--cpu-prof-dir=${folder}`]);
  const client = await load(service);
  await client.warm(inFlight, pace.warmUpMs * 3);
  const fromUs = monotonicUs();
  const { cpuUs } = await sampleSpan({ service: [service.pid] }, async () => [
    await client.measure(pace.measureMs * 2),
  ]);
  const toUs = monotonicUs();
  await client.stop();
  await service.stop();
  const { busyUs, functions } = await readCpuProfile(folder, { fromUs, toUs });
  const cells = (where: string, selfUs: number): string[] => [
    where,
    `${((100 * selfUs) / busyUs).toFixed(1)} %`,
    ((selfUs / busyUs) * (cpuUs.service ?? 0)).toFixed(2),
  ];
  const byFile = new Map<string, number>();
  for (const { where, name, selfUs } of functions) {
    const file = where === 'V8' ? `V8 ${name}` : where.replace(/:\d+$/, '');
    byFile.set(file, (byFile.get(file) ?? 0) + selfUs);
  }
  const files = [...byFile].sort(([, a], [, b]) => b - a);
  return [
    {
      title: `Where the service’s time goes in ${what}: the first ${TOP} functions by self time`,
      columns: ['function', 'where', 'share', 'µs/op'],
      rows: functions.slice(0, TOP).map(({ name, where, selfUs }) => [name, ...cells(where, selfUs)]),
    },
    {
      title: `The same by file`,
      columns: ['file', 'share', 'µs/op'],
      rows: files.slice(0, TOP).map(([file, selfUs]) => cells(file, selfUs)),
    },
  ];
}
