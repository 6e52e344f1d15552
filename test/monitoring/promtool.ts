import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { test } from '@jest/globals';
import { GROUPS, RULES_FILE } from './rule-files.js';

/** Prometheus' own tool runs the rules in simulated time. */

export const promtool = execFileSync('sh', ['scripts/ensure-promtool.sh'], { encoding: 'utf8' }).trim();

/** Skipped where there is no promtool and none can be had. */
export const withPromtool = promtool === '' ? test.skip : test;

const run = promisify(execFile);

/** Answers what it says; throws that where it finds fault. */
export async function runPromtool(...args: string[]): Promise<string> {
  const { stdout, stderr } = await run(promtool, args).catch((error: unknown) => {
    const said = error as { readonly stdout?: string; readonly stderr?: string };
    throw new Error(`promtool ${args.slice(0, 2).join(' ')}: ${said.stdout ?? ''}${said.stderr ?? String(error)}`);
  });
  return stdout + stderr;
}

/** Series and their values in promtool's notation. */
export type Series = Readonly<Record<string, string>>;

export const SAMPLE_SECONDS = 30;

export interface Simulation {
  /** By job, which the series get as a label: alerts tell jobs apart. */
  readonly jobs: Readonly<Record<string, Series>>;
  /** When to look, in minutes. */
  readonly at: number;
  /** How far samples and evaluations of the rules are apart. */
  readonly sampleSeconds?: number;
}

/** The alerts that fire then, by job; '' stands for what is no job's. */
export type Firing = Readonly<Record<string, readonly string[]>>;

export async function firingIn({ jobs, at, sampleSeconds = SAMPLE_SECONDS }: Simulation): Promise<Firing> {
  const interval = `${String(sampleSeconds)}s`;
  const series = Object.entries(jobs).flatMap(([job, all]) =>
    Object.entries(all).map(([name, values]) => ({ series: withJob(name, job), values })),
  );
  // nothing is expected, so that it says what there is
  const question = {
    // an alert that fires of several instances or roles is one
    expr: 'group by (alertname, job) (ALERTS{alertstate="firing"})',
    eval_time: `${String(at)}m`,
    exp_samples: [],
  };
  // JSON is YAML
  const file = join(mkdtempSync(join(tmpdir(), 'shardkeep-test-rules-')), 'tests.json');
  const tests = {
    rule_files: [resolve(RULES_FILE)],
    evaluation_interval: interval,
    // otherwise in any order: an alert whose samples are far apart would come before what it is made of
    group_eval_order: GROUPS,
    tests: [{ interval, input_series: series, promql_expr_test: [question] }],
  };
  writeFileSync(file, JSON.stringify(tests));
  const said = await run(promtool, ['test', 'rules', file]).then(
    () => '',
    (error: unknown) => (error as { readonly stderr?: string }).stderr ?? String(error),
  );
  const got = /\n\s+got: (.*)$/m.exec(said)?.[1];
  if (said !== '' && got === undefined) throw new Error(said);
  const firing: Record<string, string[]> = {};
  for (const [, alert = '', job = ''] of (got ?? '').matchAll(/\{alertname="(\w+)"(?:, job="([^"]*)")?\}/g)) {
    (firing[job] ??= []).push(alert);
  }
  return firing;
}

function withJob(series: string, job: string): string {
  return series.endsWith('}') ? `${series.slice(0, -1)},job="${job}"}` : `${series}{job="${job}"}`;
}
