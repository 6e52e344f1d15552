import { invalidArgument } from './errors.js';

/**
 * Of what callers without a compiler give, that which is taken apart before it becomes a request, whose shape is checked as a
 * whole. All throw InvalidArgumentError naming `field`.
 */

/** An object, and no list. */
export function objectIn<Value extends object>(value: Value, field: string): Value {
  if (isObject(value)) return value;
  throw invalidArgument(`${field} must be an object`, [field]);
}

/** A copy. A text is no list, though it can be read as one. */
export function listIn<Item>(value: readonly Item[], field: string): Item[] {
  if (!Array.isArray(value)) throw invalidArgument(`${field} must be a list`, [field]);
  return Array.from<Item>(value);
}

/** As protobuf's maps are; empty where it is absent. */
export function mapIn<Value>(value: Readonly<Record<string, Value>> | undefined, field: string): Map<string, Value> {
  return new Map(value === undefined ? [] : Object.entries(objectIn(value, field)));
}

/** A function of the caller's. */
export function functionIn<Value>(value: Value, field: string): Value {
  if (typeof value === 'function') return value;
  throw invalidArgument(`${field} must be a function`, [field]);
}

/** Of which a whole number has to be. */
export interface Range {
  readonly min: number;
  readonly max: number;
}

export function wholeNumberIn(value: number, field: string, { min, max }: Range): number {
  if (Number.isSafeInteger(value) && value >= min && value <= max) return value;
  throw invalidArgument(`${field} must be a whole number from ${String(min)} to ${String(max)}`, [field]);
}

/** What a word stands for; only words that the table itself has, not those that every object knows. */
export function wordIn<Word extends string, Meaning>(
  meanings: Readonly<Record<Word, Meaning>>,
  word: Word,
  field: string,
): Meaning {
  if (typeof word === 'string' && Object.hasOwn(meanings, word)) return meanings[word];
  throw invalidArgument(`${field} must be one of ${Object.keys(meanings).join(', ')}`, [field]);
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
