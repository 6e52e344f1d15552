import { invalidArgument } from '../errors.js';

export interface Range {
  readonly min: number;
  readonly max: number;
}

/** The number, if it is a whole one of this range; throws InvalidArgumentError, naming the option, if it is anything else. */
export function wholeNumber(value: number, field: string, { min, max }: Range): number {
  if (Number.isSafeInteger(value) && value >= min && value <= max) return value;
  throw invalidArgument(`${field} must be a whole number from ${String(min)} to ${String(max)}`, [field]);
}

/** What a word of an option stands for; only words that the table itself has, not those that every object knows. */
export function meaningOf<Word extends string, Meaning>(
  table: Readonly<Record<Word, Meaning>>,
  word: Word,
  field: string,
): Meaning {
  if (Object.hasOwn(table, word)) return table[word];
  throw invalidArgument(`${field} must be one of ${Object.keys(table).join(', ')}`, [field]);
}

/** Callers in plain JavaScript pass anything; found out here, before anything was sent or written. */
export function throwIfNoFunction(value: unknown, field: string): void {
  if (typeof value !== 'function') throw invalidArgument(`${field} must be a function`, [field]);
}

/** A list that is asked for with a string is one by mistake. */
export function throwIfNoArray(value: unknown, field: string): void {
  if (!Array.isArray(value)) throw invalidArgument(`${field} must be an array`, [field]);
}

export function throwIfNoObject(value: unknown, field: string): void {
  if (typeof value !== 'object' || value === null) throw invalidArgument(`${field} must be an object`, [field]);
}
