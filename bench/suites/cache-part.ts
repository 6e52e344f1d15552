import { freemem } from 'node:os';
import type { GoalResult, Plot, Table } from '../harness/section.js';

/** What one question about the cache adds to the section. */
export interface CachePart {
  readonly note: string;
  readonly goals: readonly GoalResult[];
  readonly tables: readonly Table[];
  readonly plots: readonly Plot[];
}

export const VALUE_BYTES = 200;
export const LIFETIME_MS = 3_600_000;
export const LIFETIME = { $case: 'ttlMs', value: BigInt(LIFETIME_MS) } as const;

/** Numbers of keys begin here, so that up to two millions they have as many digits and all keys the same length. */
export const FIRST = 1_000_000;

/** Of a million entries twice over, beside what measures them. */
const NEEDED_BYTES = 2 * 2 ** 30;

export function hasRoom(): boolean {
  return freemem() > NEEDED_BYTES;
}

export function formatCount(count: number): string {
  return count.toLocaleString('en-US');
}
