import type { Spread } from './statistics.js';

/** What a suite found, ready to print: the part of RESULTS.md that it owns, kept as JSON between runs. */
export interface Section {
  readonly title: string;
  /** How it was measured, against what; a paragraph each. */
  readonly notes: readonly string[];
  readonly goals: readonly GoalResult[];
  readonly tables: readonly Table[];
  readonly plots: readonly Plot[];
}

export interface GoalResult {
  readonly what: string;
  readonly goal: string;
  readonly measured: string;
  readonly met: boolean;
}

export interface Table {
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

export interface Plot {
  /** In bench/plots, without the ending. */
  readonly name: string;
  readonly title: string;
  readonly svg: string;
}

export function skipped(title: string, why: string): Section {
  return { title, notes: [`Skipped: ${why}.`], goals: [], tables: [], plots: [] };
}

/** A goal for a figure that should be large. */
export function atLeast(what: string, goal: number, measured: Spread): GoalResult {
  return { what, goal: `≥ ${goal.toFixed(2)}`, measured: formatRatio(measured), met: measured.median >= goal };
}

/** A goal for a figure that should be small. */
export function atMost(what: string, goal: number, measured: Spread, unit = ''): GoalResult {
  return { what, goal: `≤ ${goal}${unit}`, measured: `${formatRatio(measured)}${unit}`, met: measured.median <= goal };
}

export function formatRatio({ median, min, max }: Spread): string {
  return `${median.toFixed(2)} (${min.toFixed(2)}–${max.toFixed(2)})`;
}

export function formatRate(ratePerSecond: number): string {
  return Math.round(ratePerSecond).toLocaleString('en-US');
}

export function formatUs(durationUs: number): string {
  return durationUs.toFixed(1);
}

export function formatMs(durationMs: number): string {
  return durationMs.toFixed(durationMs < 1 ? 3 : 2);
}
