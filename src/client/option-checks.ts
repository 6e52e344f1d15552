import { invalidArgument, type ShardkeepError } from './errors.js';

/** Of what there is no option for, so many are named to people. */
const MAX_UNKNOWN_SAID = 3;

/** What is wrong with a value. */
export interface OptionProblem {
  /** Where below the value, as `[0].cookie`; '' for the value itself. */
  readonly at: string;
  /** What it has to be, as in "must be …"; '' where another problem says it. */
  readonly mustBe: string;
}

/** Answers what is wrong with a value; nothing where it is as it has to be. */
export type OptionCheck = (value: unknown) => readonly OptionProblem[];

/** A check for each option that there is: the compiler sees to it that none is forgotten. */
export type OptionChecks<Options> = Readonly<Record<keyof Options, OptionCheck>>;

/**
 * Throws InvalidArgumentError where options cannot be what their caller means: something wrong, missing or misspelt would be
 * found by the first request, or let everybody in for ever. `of` is who was given them; `fields` names each that is wrong.
 */
export function checkOptions<Options extends object>(
  of: string,
  options: unknown,
  checks: OptionChecks<Options>,
): void {
  throwProblems(of, problemsOf(options, checks, 'options'));
}

/** As checkOptions, of options that are right by themselves and wrong together. */
export function refuseOptions(of: string, ...problems: readonly OptionProblem[]): never {
  throw errorOf(of, problems);
}

/** As checkOptions, of one argument that is no options object. */
export function checkArgument(of: string, name: string, value: unknown, check: OptionCheck): void {
  throwProblems(of, below(name, check(value)));
}

function throwProblems(of: string, problems: readonly OptionProblem[]): void {
  if (problems.length > 0) throw errorOf(of, problems);
}

function errorOf(of: string, problems: readonly OptionProblem[]): ShardkeepError {
  const said = problems.filter(({ mustBe }) => mustBe !== '');
  const message = `${of}: ${said.map(({ at, mustBe }) => `${at} must be ${mustBe}`).join('; ')}`;
  return invalidArgument(
    message,
    problems.map(({ at }) => at),
  );
}

/** `whole` names the object where it is none. */
function problemsOf<Options>(value: unknown, checks: OptionChecks<Options>, whole: string): readonly OptionProblem[] {
  if (!isObject(value)) return [{ at: whole, mustBe: 'an object' }];
  // by a map: names are what somebody wrote
  const byName = new Map<string, OptionCheck>(Object.entries(checks));
  if (isItsOwnClient(value, byName.get('client')))
    return [{ at: 'client', mustBe: `${CLIENT}: give it as { client }` }];
  const unknown = Object.entries(value).filter(([name, each]) => each !== undefined && !byName.has(name));
  // what is missing first: beside something that is no options at all names are many
  return [
    ...[...byName].flatMap(([name, check]) => below(name, check(Reflect.get(value, name)))),
    ...leftOutOf(
      unknown.map(([name]) => name),
      [...byName.keys()],
    ),
  ];
}

/** Where options with a client are wanted, a client is given. */
function isItsOwnClient(value: object, check: OptionCheck | undefined): boolean {
  return check !== undefined && Reflect.get(value, 'client') === undefined && check(value).length === 0;
}

function leftOutOf(unknown: readonly string[], known: readonly string[]): readonly OptionProblem[] {
  const more = unknown.length - MAX_UNKNOWN_SAID;
  const others = more > 0 ? `, as ${String(more)} more` : '';
  return unknown.map((at, index) => {
    if (index >= MAX_UNKNOWN_SAID) return { at, mustBe: '' };
    const isLast = index === Math.min(unknown.length, MAX_UNKNOWN_SAID) - 1;
    return { at, mustBe: isLast ? `left out${others}: there is ${known.join(', ')}` : 'left out' };
  });
}

function below(name: string, problems: readonly OptionProblem[]): readonly OptionProblem[] {
  return problems.map(({ at, mustBe }) => ({
    at: at === '' || at.startsWith('[') ? name + at : `${name}.${at}`,
    mustBe,
  }));
}

/** A check that asks one question. */
export function that(mustBe: string, isSo: (value: unknown) => boolean): OptionCheck {
  return (value) => (isSo(value) ? [] : [{ at: '', mustBe }]);
}

export function optional(check: OptionCheck): OptionCheck {
  return (value) => (value === undefined ? [] : check(value));
}

/**
 * Where a value passes none: what is wrong within it, which only the check finds that its kind of value is for; or all that it
 * could be.
 */
export function either(...checks: readonly OptionCheck[]): OptionCheck {
  return (value) => {
    const failures = checks.map((check) => check(value));
    if (failures.some((problems) => problems.length === 0)) return [];
    const within = failures.find((problems) => problems.some(({ at }) => at !== ''));
    return within ?? [{ at: '', mustBe: failures.flatMap(wordsOf).join(', or ') }];
  };
}

function wordsOf(problems: readonly OptionProblem[]): string[] {
  return problems.map(({ mustBe }) => mustBe);
}

export const leftOut = that('left out', (value) => value === undefined);
export const callable = that('a function', (value) => typeof value === 'function');
export const flag = that('true or false', (value) => typeof value === 'boolean');
export const anyObject = that('an object', isObject);
/** Of milliseconds; Infinity is one. */
export const duration = that('a number of milliseconds above 0', (value) => typeof value === 'number' && value > 0);

export function text(mustBe: string, pattern: RegExp): OptionCheck {
  return that(mustBe, (value) => typeof value === 'string' && pattern.test(value));
}

export function textUpTo(maxBytes: number): OptionCheck {
  const isSo = (value: unknown): boolean => typeof value === 'string' && Buffer.byteLength(value) <= maxBytes;
  return that(`a text of up to ${String(maxBytes)} bytes`, isSo);
}

export const nonEmptyText = text('a text that is not empty', /./s);
/** Of a header or a cookie, as HTTP has it. */
export const fieldName = text('a name of letters, digits and -', /^[\w!#$%&'*+.^`|~-]+$/);
/** Of a policy or a profile. */
export const name = text('1 to 32 of [a-z0-9_-]', /^[a-z0-9_-]{1,32}$/);

export function wholeNumber(min: number, max: number): OptionCheck {
  const isSo = (value: unknown): boolean => Number.isInteger(value) && Number(value) >= min && Number(value) <= max;
  return that(`a whole number from ${String(min)} to ${String(max)}`, isSo);
}

export function numberFrom(min: number, max = Infinity): OptionCheck {
  const isSo = (value: unknown): boolean => typeof value === 'number' && value >= min && value <= max;
  return that(`a number from ${String(min)}${max === Infinity ? '' : ` to ${String(max)}`}`, isSo);
}

export function oneOf(...words: readonly unknown[]): OptionCheck {
  return that(words.map((word) => JSON.stringify(word)).join(' or '), (value) => words.includes(value));
}

/** At least one. */
export function listOf(check: OptionCheck): OptionCheck {
  return (value) => {
    if (!Array.isArray(value) || value.length === 0) return [{ at: '', mustBe: 'a list that is not empty' }];
    return value.flatMap((item, index) => below(`[${String(index)}]`, check(item)));
  };
}

/** An object with these members and no others. */
export function shape<Shape>(checks: OptionChecks<Shape>): OptionCheck {
  return (value) => problemsOf(value, checks, '');
}

/** Something of the client, known by methods: `mustBe` tells where one has it from. */
export function thing(mustBe: string, ...methods: readonly string[]): OptionCheck {
  const isSo = (value: unknown): boolean =>
    isObject(value) && methods.every((method) => typeof Reflect.get(value, method) === 'function');
  return that(mustBe, isSo);
}

const CLIENT = 'what connect() answers';

/** A client, as far as its sessions are used. */
export const clientWithSessions = clientWith('sessions', 'validateSession');
/** A client, as far as its rate limits are used. */
export const clientWithRateLimits = clientWith('rateLimits', 'checkRateLimit');

function clientWith(part: string, method: string): OptionCheck {
  const isPart = thing(CLIENT, method);
  return (value) => (isObject(value) ? isPart(Reflect.get(value, part)) : [{ at: '', mustBe: CLIENT }]);
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}
