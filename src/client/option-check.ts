import { invalidArgument } from './errors.js';

/** What an option must be, in words, and whether it is. */
export interface OptionRule {
  readonly expected: string;
  readonly is: (value: unknown) => boolean;
}

/** The rules of options by name, and those of options within. */
export interface OptionRules {
  readonly [name: string]: OptionRule | OptionGroup | OptionRules;
}

/** Options within, or in their place something simpler. */
export interface OptionGroup {
  readonly or: OptionRule;
  readonly rules: OptionRules;
}

export const oneOf = (...words: readonly unknown[]): OptionRule => ({
  expected: words.map(String).join(' or '),
  is: (value) => words.includes(value),
});

/** Finite, and whole if `isWhole`. */
export const numberFrom = (min: number, { max = Number.MAX_VALUE, isWhole = false } = {}): OptionRule => ({
  expected: `a ${isWhole ? 'whole ' : ''}number from ${String(min)}${max === Number.MAX_VALUE ? '' : ` to ${String(max)}`}`,
  is: (value) =>
    typeof value === 'number' && value >= min && value <= max && (isWhole ? Number.isInteger(value) : true),
});

export const aFunction: OptionRule = { expected: 'a function', is: (value) => typeof value === 'function' };

/** An object that has these methods, whatever else it has. */
export const withMethods = (...names: readonly string[]): OptionRule => ({
  expected: `an object with ${names.join(', ')}`,
  is: (value) =>
    typeof value === 'object' &&
    value !== null &&
    names.every((name) => typeof (value as Readonly<Record<string, unknown>>)[name] === 'function'),
});

export const either = (...rules: readonly OptionRule[]): OptionRule => ({
  expected: rules.map(({ expected }) => expected).join(', or '),
  is: (value) => rules.some((rule) => rule.is(value)),
});

/**
 * Throws InvalidArgumentError naming every option that is not what it must be, or that nobody reads: a misspelt one would be
 * as if it were not there. Undefined is as good as absent.
 */
export function throwIfWrongOptions(options: unknown, rules: OptionRules): void {
  const wrong = new Map<string, string>();
  check(options, { rules, path: '', wrong });
  if (wrong.size === 0) return;
  const problems = Array.from(wrong, ([path, problem]) => `${path} ${problem}`);
  throw invalidArgument(problems.join(', '), [...wrong.keys()]);
}

interface Place {
  readonly rules: OptionRules;
  /** With the dot after it; '' for the options themselves. */
  readonly path: string;
  readonly wrong: Map<string, string>;
}

function check(options: unknown, { rules, path, wrong }: Place): void {
  if (typeof options !== 'object' || options === null) {
    wrong.set(path.slice(0, -1) || 'options', 'must be an object');
    return;
  }
  for (const [name, value] of Object.entries(options) as [string, unknown][]) {
    const rule = Object.hasOwn(rules, name) ? rules[name] : undefined;
    if (rule === undefined) wrong.set(path + name, 'is no option');
    else if (value === undefined) continue;
    else if (isRule(rule)) {
      if (!rule.is(value)) wrong.set(path + name, `must be ${rule.expected}`);
    } else if (!isGroup(rule)) check(value, { rules: rule, path: `${path}${name}.`, wrong });
    else if (!rule.or.is(value)) check(value, { rules: rule.rules, path: `${path}${name}.`, wrong });
  }
}

function isGroup(rule: OptionGroup | OptionRules): rule is OptionGroup {
  return isRule(rule.or);
}

function isRule(rule: unknown): rule is OptionRule {
  return typeof rule === 'object' && rule !== null && 'is' in rule && typeof rule.is === 'function';
}
