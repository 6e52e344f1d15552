import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { format } from 'prettier';
import { describeMachine } from './machine.js';
import type { GoalResult, Section, Table } from './section.js';
import { ROOT } from './servers.js';

/** What one run of a suite left in bench/results; RESULTS.md is made of all of them. */
interface Result {
  readonly suite: string;
  readonly machine: string;
  readonly date: string;
  /** Share of the machine's CPU time that processes without a part in the suite took meanwhile. */
  readonly disturbance: number;
  readonly section: Section;
}

const BENCH = join(ROOT, 'bench');
const RESULTS = join(BENCH, 'results');
const PLOTS = join(BENCH, 'plots');

/** Keeps what a suite found; what others found before stays. */
export async function keepResult(suite: string, section: Section, disturbance: number): Promise<void> {
  const result: Result = {
    suite,
    machine: describeMachine(),
    date: new Date().toISOString().slice(0, 10),
    disturbance: Math.round(disturbance * 1_000) / 1_000,
    section: { ...section, plots: section.plots.map((plot) => ({ ...plot, svg: '' })) },
  };
  await mkdir(RESULTS, { recursive: true });
  // as `make lint` wants it
  const text = await format(JSON.stringify(result), { parser: 'json', printWidth: 120 });
  await writeFile(join(RESULTS, `${suite}.json`), text);
  if (section.plots.length > 0) await mkdir(PLOTS, { recursive: true });
  for (const { name, svg } of section.plots) await writeFile(join(PLOTS, `${name}.svg`), svg);
}

/** Writes RESULTS.md from what is kept, in the given order of suites. */
export async function writeResults(order: readonly string[]): Promise<string> {
  const files = (await readdir(RESULTS)).filter((file) => file.endsWith('.json'));
  const results = await Promise.all(
    files.map(async (file) => JSON.parse(await readFile(join(RESULTS, file), 'utf8')) as Result),
  );
  results.sort((a, b) => order.indexOf(a.suite) - order.indexOf(b.suite));
  const path = join(BENCH, 'RESULTS.md');
  await writeFile(path, render(results));
  return path;
}

function render(results: readonly Result[]): string {
  const goals = results.flatMap(({ suite, section }) => section.goals.map((goal) => ({ suite, ...goal })));
  return [
    '# Results',
    'Written by `make bench`; how to read and repeat it: [README.md](README.md). Ratios are medians of ratios within one ' +
      'round (least–most); rates depend on the machine, ratios much less.',
    '## Goals',
    renderTable({
      title: '',
      columns: ['what', 'goal', 'measured', 'met', 'command'],
      rows: goals.map((goal) => [...goalCells(goal), `\`make bench-${goal.suite}\``]),
    }),
    ...results.map(renderResult),
    '',
  ].join('\n\n');
}

/** Above this share the figures say more about the neighbours. */
const DISTURBED = 0.05;

function renderResult({ suite, machine, date, disturbance, section }: Result): string {
  const others = `others took ${Math.round(disturbance * 100)} % of the CPU`;
  const facts = [
    `\`make bench-${suite}\``,
    date,
    machine,
    disturbance > DISTURBED ? `**${others}: measure again on an idle machine**` : others,
  ];
  return [
    `## ${section.title}`,
    facts.join(' · '),
    ...section.notes,
    ...section.tables.flatMap((table) => [`**${table.title}**`, renderTable(table)]),
    ...section.plots.map(({ name, title }) => `![${title}](plots/${name}.svg)`),
  ].join('\n\n');
}

export function goalCells({ what, goal, measured, met }: GoalResult): string[] {
  return [what, goal, measured, met ? 'yes' : '**no**'];
}

export function renderTable({ columns, rows }: Table): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(columns), line(columns.map(() => '---')), ...rows.map(line)].join('\n');
}

/** For a terminal. */
export function printSection(section: Section): void {
  const lines = [`\n${section.title}`, ...(section.tables.length === 0 ? section.notes : [])];
  for (const table of section.tables) lines.push('', `${table.title}:`, alignTable(table));
  for (const goal of section.goals) {
    lines.push(`  ${goal.met ? 'met   ' : 'MISSED'}  ${goal.what}: ${goal.measured}, goal ${goal.goal}`);
  }
  process.stdout.write(`${lines.join('\n')}\n`);
}

function alignTable({ columns, rows }: Table): string {
  const all = [columns, ...rows];
  const widths = columns.map((_, column) => Math.max(...all.map((cells) => cells[column]?.length ?? 0)));
  return all.map((cells) => `  ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}`).join('\n');
}
