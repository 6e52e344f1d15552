import { invalidArgument } from './errors.js';
import { nameOf } from './name-of.js';

/**
 * Of what callers without a compiler give, that which is taken apart before it becomes a request, whose shape is checked as a
 * whole. All throw InvalidArgumentError naming `field`.
 */

/** The names of all options that there are: the compiler sees to it that none is forgotten, and none is there too many. */
export type OptionNames<Options> = Readonly<Record<keyof Options, true>>;

/**
 * Options of a call, or an object within its arguments. One whose name nobody reads would leave undone what its caller asks
 * for, such as a guard; undefined is no option, whatever its name. `at` is where the object is; '' are the options.
 */
export function optionsIn<Options extends object>(
  options: Options,
  names: OptionNames<NoInfer<Options>>,
  at = '',
): Options {
  objectIn(options, at === '' ? 'options' : at);
  for (const name of Object.keys(options)) {
    if (!Object.hasOwn(names, name) && Reflect.get(options, name) !== undefined)
      throw unknownOptions(options, names, at);
  }
  return options;
}

function unknownOptions(options: object, names: object, at: string): Error {
  const unknown = Object.entries(options).flatMap(([name, value]: [string, unknown]) =>
    Object.hasOwn(names, name) || value === undefined ? [] : [at === '' ? name : `${at}.${name}`],
  );
  return invalidArgument(`${unknown.join(', ')} must be left out: there is ${Object.keys(names).join(', ')}`, unknown);
}

/** An object, and no list. */
export function objectIn<Value extends object>(value: Value, field: string): Value {
  if (isObject(value)) return value;
  throw invalidArgument(`${field} must be an object, not ${nameOf(value)}`, [field]);
}

export function textIn(value: string, field: string): string {
  if (typeof value === 'string') return value;
  throw invalidArgument(`${field} must be a string, not ${nameOf(value)}`, [field]);
}

/** A copy. A text is no list, though it can be read as one. */
export function listIn<Item>(value: readonly Item[], field: string): Item[] {
  if (!Array.isArray(value)) throw invalidArgument(`${field} must be a list, not ${nameOf(value)}`, [field]);
  return Array.from<Item>(value);
}

/** As protobuf's maps are; empty where it is absent. */
export function mapIn<Value>(value: Readonly<Record<string, Value>> | undefined, field: string): Map<string, Value> {
  return new Map(value === undefined ? [] : Object.entries(objectIn(value, field)));
}

/** A function of the caller's. */
export function functionIn<Value>(value: Value, field: string): Value {
  if (typeof value === 'function') return value;
  throw invalidArgument(`${field} must be a function, not ${nameOf(value)}`, [field]);
}

/** Of which a whole number has to be. */
export interface Range {
  readonly min: number;
  readonly max: number;
}

export function wholeNumberIn(value: number, field: string, { min, max }: Range): number {
  if (Number.isSafeInteger(value) && value >= min && value <= max) return value;
  throw invalidArgument(`${field} must be a whole number from ${String(min)} to ${String(max)}, not ${nameOf(value)}`, [
    field,
  ]);
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
