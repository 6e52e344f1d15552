import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { z } from 'zod';

/** What is in the files of k8s/monitoring. */

export const RULES_FILE = 'k8s/monitoring/rules.yaml';

const rule = z.object({ record: z.string().optional(), alert: z.string().optional(), expr: z.string() });
const alert = z.strictObject({
  alert: z.string().regex(/^Shardkeep[A-Za-z0-9]+$/),
  expr: z.string(),
  for: z.string().optional(),
  labels: z.strictObject({ severity: z.enum(['critical', 'warning']) }),
  annotations: z.strictObject({ summary: z.string().min(1), description: z.string().min(1), runbook_url: z.string() }),
});
const file = z.strictObject({
  groups: z.array(z.strictObject({ name: z.string(), rules: z.array(z.looseObject(rule.shape)) })),
});

export type Alert = z.infer<typeof alert>;

const { groups } = file.parse(parse(readFileSync(RULES_FILE, 'utf8')));
const rules = groups.flatMap((group) => group.rules);

export const GROUPS: readonly string[] = groups.map(({ name }) => name);
export const ALERTS: readonly Alert[] = rules.flatMap((each) => (each.alert === undefined ? [] : [alert.parse(each)]));
export const RECORDED: readonly string[] = rules.flatMap(({ record }) => record ?? []);
export const EXPRESSIONS: readonly string[] = rules.map(({ expr }) => expr);

const SUFFIX = /_(?:bucket|sum|count)$/;

/** The metrics of the service that PromQL names, as the registry calls them. */
export function metricsIn(expressions: readonly string[], histograms: ReadonlySet<string>): ReadonlySet<string> {
  const names = expressions.flatMap((expr) => expr.match(/\bshardkeep_[a-z0-9_]+/g) ?? []);
  return new Set(names.map((name) => (histograms.has(name.replace(SUFFIX, '')) ? name.replace(SUFFIX, '') : name)));
}
