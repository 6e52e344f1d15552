import type { Role, Sample } from './sample.js';
import { formatRate, formatRatio, formatUs, type Table } from './section.js';
import { median, ratio } from './statistics.js';

export interface TableRow {
  readonly name: string;
  readonly samples: readonly Sample[];
  /** What the rate is divided by, round by round. */
  readonly baseline?: { readonly name: string; readonly samples: readonly Sample[] };
}

const ROLES: readonly Role[] = ['client', 'service', 'redis'];

/** Rates with the CPU time of every process beside them. */
export function sampleTable(title: string, rows: readonly TableRow[]): Table {
  return {
    title,
    columns: [
      'variant',
      'ops/s',
      'client µs/op',
      'service µs/op',
      'Redis µs/op',
      'all µs/op',
      'ratio of rates (min–max)',
    ],
    rows: rows.map(({ name, samples, baseline }) => [
      name,
      formatRate(median(rates(samples))),
      ...ROLES.map((role) => (samples[0]?.cpuUs[role] === undefined ? '–' : formatUs(median(cpuOf(samples, role))))),
      formatUs(median(samples.map(({ cpuUs }) => ROLES.reduce((sum, role) => sum + (cpuUs[role] ?? 0), 0)))),
      baseline === undefined
        ? '–'
        : `${formatRatio(ratio(rates(samples), rates(baseline.samples)))} of ${baseline.name}`,
    ]),
  };
}

export function rates(samples: readonly Sample[]): number[] {
  return samples.map(({ ratePerSecond }) => ratePerSecond);
}

export function cpuOf(samples: readonly Sample[], role: Role): number[] {
  return samples.map(({ cpuUs }) => cpuUs[role] ?? 0);
}

export function quantiles(samples: readonly Sample[], share: number): number[] {
  return samples.map(({ latencies }) => latencies.quantileMs(share));
}
