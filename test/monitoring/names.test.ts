import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { z } from 'zod';
import { ALERTS, EXPRESSIONS, metricsIn, RECORDED, RULES_FILE } from './rule-files.js';

/** Rules, boards, runbooks and metrics name the same things. */

const FOLDER = 'k8s/monitoring';
const boards = readdirSync(join(FOLDER, 'dashboards')).map((file) => ({
  file,
  text: readFileSync(join(FOLDER, 'dashboards', file), 'utf8'),
}));

const target = z.object({ refId: z.string(), expr: z.string().min(1), legendFormat: z.string().min(1) });
const panel = z.object({
  id: z.number(),
  title: z.string().min(1),
  description: z.string().min(5),
  fieldConfig: z.object({ defaults: z.object({ unit: z.string().min(1) }) }),
  gridPos: z.object({ x: z.number(), y: z.number(), w: z.number(), h: z.number() }),
  targets: z.array(target).min(1),
});
const board = z.object({ uid: z.string(), title: z.string(), panels: z.array(panel).min(5) });

/** What docs/metrics.md tells of; another test holds that to what is served. */
const metrics = new Map(
  [...readFileSync('docs/metrics.md', 'utf8').matchAll(/^\| `(\w+)` \| (\w+) \|/gm)].map(([, name = '', type = '']) => [
    name,
    type,
  ]),
);
const histograms = new Set([...metrics].filter(([, type]) => type === 'histogram').map(([name]) => name));

function unknownIn(expressions: readonly string[]): readonly string[] {
  return [...metricsIn(expressions, histograms)].filter((name) => !metrics.has(name));
}

test('every metric that rules name is served', () => {
  expect(EXPRESSIONS.length).toBeGreaterThan(30);
  expect(unknownIn(EXPRESSIONS)).toEqual([]);
});

test.each(boards)('$file names metrics that are served, and each panel says what it shows', ({ text }) => {
  const { panels } = board.parse(JSON.parse(text));
  const expressions = panels.flatMap(({ targets }) => targets.map(({ expr }) => expr));
  expect(unknownIn(expressions)).toEqual([]);
  const recorded = expressions.flatMap((expr) => expr.match(/\bshardkeep:[a-z0-9_:]+/g) ?? []);
  expect(recorded.filter((name) => !RECORDED.includes(name))).toEqual([]);
  expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
});

test('boards have names of their own, and the kustomization has all of them', () => {
  const ids = boards.map(({ text }) => board.parse(JSON.parse(text)).uid);
  expect(new Set(ids).size).toBe(ids.length);
  const kustomization = z
    .object({ configMapGenerator: z.array(z.object({ files: z.array(z.string()) })) })
    .parse(parse(readFileSync(join(FOLDER, 'kustomization.yaml'), 'utf8')));
  const files = kustomization.configMapGenerator.flatMap((generator) => generator.files);
  expect(files.toSorted()).toEqual(boards.map(({ file }) => `dashboards/${file}`).toSorted());
});

test('each alert has its section of the runbook, and each section its alert', () => {
  const page = readFileSync('docs/operations/alerts.md', 'utf8');
  const sections = [
    ...page.matchAll(/^## (\w+)\n\n- \*\*Cause\*\*: [\s\S]+?\n- \*\*Look at\*\*: [\s\S]+?\n- \*\*Do\*\*: /gm),
  ];
  expect(sections.map(([, name]) => name).toSorted()).toEqual(ALERTS.map(({ alert }) => alert).toSorted());
  for (const { alert, annotations } of ALERTS) {
    expect(annotations.runbook_url).toBe(`docs/operations/alerts.md#${alert.toLowerCase()}`);
  }
});

test('the resource of the operator has the same rules', () => {
  const resource = z
    .object({ kind: z.literal('PrometheusRule'), spec: z.unknown() })
    .parse(parse(readFileSync(join(FOLDER, 'prometheus-rule.yaml'), 'utf8')));
  // node scripts/write-prometheus-rule.mjs
  expect(resource.spec).toEqual(parse(readFileSync(RULES_FILE, 'utf8')));
});
