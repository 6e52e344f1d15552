import { Buffer } from 'node:buffer';
import { DomainError, type FieldViolation } from '../errors.js';

/**
 * Rules for the fields of request messages. A message's rules name every field of it (the compiler holds them to it), so
 * that a field added to the proto cannot be forgotten. All wrong fields of a request are reported at once, by their
 * names in the proto.
 */

/** Checks one value; `field` is its path in the proto. */
export type Rule<Value> = (value: Value, field: string, violations: FieldViolation[]) => void;

export type Rules<Message> = { readonly [Field in keyof Message]-?: Rule<Message[Field]> };

/** The fields of a ts-proto oneof. */
type OneOf = { readonly $case: string; readonly value: unknown } | undefined;
type OneOfRules<Value extends OneOf> = {
  readonly [Case in NonNullable<Value>['$case']]: Rule<Extract<NonNullable<Value>, { $case: Case }>['value']>;
};

/** More would outgrow the 8 KiB of metadata that most gRPC clients take: they would see another error than this one. */
const MAX_REPORTED_VIOLATIONS = 32;

/** Builds the check of a whole request: throws INVALID_FIELD with the violations, the first 32 where there are more. */
export function checkerOf<Message>(rules: Rules<Message>): (message: Message) => void {
  const check = message(rules);
  return (request) => {
    const violations: FieldViolation[] = [];
    check(request, '', violations);
    const [first] = violations;
    if (first !== undefined) {
      throw new DomainError('INVALID_FIELD', `${first.field}: ${first.description}`, {
        violations: violations.slice(0, MAX_REPORTED_VIOLATIONS),
      });
    }
  };
}

/** A message inside a message. */
export function message<Message>(rules: Rules<Message>): Rule<Message> {
  const fields = (Object.keys(rules) as (keyof Message & string)[]).map((key) => ({
    key,
    name: snakeCase(key),
    rule: rules[key],
  }));
  return (value, field, violations) => {
    for (const { key, name, rule } of fields) {
      rule(value[key], field === '' ? name : `${field}.${name}`, violations);
    }
  };
}

/** UTF-8 text of `minBytes` to `maxBytes`; U+FFFD (what a decoder makes of bad UTF-8) and NUL are refused. */
export function text(limits: { minBytes: number; maxBytes: number; pattern?: RegExp }): Rule<string> {
  const { minBytes, maxBytes, pattern } = limits;
  return (value, field, violations) => {
    const ascii = isShortAscii(value);
    const bytes = ascii ? value.length : Buffer.byteLength(value);
    if (bytes < minBytes || bytes > maxBytes) {
      violations.push({ field, description: `must have ${String(minBytes)} to ${String(maxBytes)} bytes` });
    } else if (!ascii && (value.includes('\uFFFD') || value.includes('\0'))) {
      violations.push({ field, description: 'must be valid UTF-8 without U+FFFD and NUL' });
    } else if (pattern !== undefined && !pattern.test(value)) {
      violations.push({ field, description: `must match ${pattern.source}` });
    }
  };
}

/** What most keys are; checking them here is cheaper than three calls into the runtime. NUL is not counted among them. */
function isShortAscii(value: string): boolean {
  if (value.length > 64) return false;
  for (let index = 0; index < value.length; index++) {
    const code = value.charCodeAt(index);
    if (code === 0 || code > 0x7f) return false;
  }
  return true;
}

export function bytes({ minBytes = 0, maxBytes }: { minBytes?: number; maxBytes: number }): Rule<Uint8Array> {
  return (value, field, violations) => {
    if (value.length < minBytes || value.length > maxBytes) {
      violations.push({ field, description: `must have ${String(minBytes)} to ${String(maxBytes)} bytes` });
    }
  };
}

/** A whole number in a range, of either size. */
export function integer(limits: { min: bigint; max: bigint }): Rule<bigint>;
export function integer(limits: { min: number; max: number }): Rule<number>;
export function integer({ min, max }: { min: number | bigint; max: number | bigint }): Rule<never> {
  return (value: number | bigint, field, violations) => {
    if (value < min || value > max) {
      violations.push({ field, description: `must be ${String(min)} to ${String(max)}` });
    }
  };
}

/** Every value is right. */
export const anything: Rule<unknown> = () => undefined;

/** A bool that means something only when it is true, as in a oneof. */
export const onlyTrue: Rule<boolean> = (value, field, violations) => {
  if (!value) violations.push({ field, description: 'must be true when set' });
};

/** A field that may be absent. */
export function optional<Value>(rule: Rule<Value>): Rule<Value | undefined> {
  return (value, field, violations) => {
    if (value !== undefined) rule(value, field, violations);
  };
}

/** A message field that must be there. */
export function required<Value>(rule: Rule<Value>): Rule<Value | undefined> {
  return (value, field, violations) => {
    if (value === undefined) violations.push({ field, description: 'must be set' });
    else rule(value, field, violations);
  };
}

/** An enum field: one of the values named. */
export function oneOfValues<Value>(...allowed: readonly Value[]): Rule<Value> {
  return (value, field, violations) => {
    if (!allowed.includes(value)) violations.push({ field, description: 'has no known value' });
  };
}

export function list<Value>(rule: Rule<Value>, limits: { min: number; max: number; unique?: boolean }): Rule<Value[]> {
  const { min, max, unique = false } = limits;
  return (values, field, violations) => {
    if (values.length < min || values.length > max) {
      violations.push({ field, description: `must have ${String(min)} to ${String(max)} items` });
      return;
    }
    values.forEach((value, index) => {
      rule(value, `${field}[${String(index)}]`, violations);
    });
    if (unique && new Set(values).size !== values.length) {
      violations.push({ field, description: 'must not name an item twice' });
    }
  };
}

/** A google.protobuf.FieldMask, which the generated code gives as the list of its paths. */
export function fieldMask(path: Rule<string>, limits: { max: number }): Rule<string[]> {
  const paths = list(path, { min: 0, ...limits });
  return (value, field, violations) => {
    paths(value, `${field}.paths`, violations);
  };
}

export function map<Value>(key: Rule<string>, value: Rule<Value>, limits: { max: number }): Rule<Map<string, Value>> {
  return (entries, field, violations) => {
    if (entries.size > limits.max) {
      violations.push({ field, description: `must have at most ${String(limits.max)} entries` });
      return;
    }
    for (const [name, item] of entries) {
      const before = violations.length;
      key(name, field, violations);
      // a key that is wrong itself is not repeated in the path
      if (violations.length === before) value(item, `${field}.${name}`, violations);
    }
  };
}

/** A oneof: the rule of the case that is set, reported under that case's own name. */
export function oneOf<Value extends OneOf>(
  rules: OneOfRules<Value>,
  options: { required?: boolean } = {},
): Rule<Value> {
  const cases = new Map(
    Object.entries<Rule<never>>(rules).map(([name, rule]) => [
      name,
      { rule: rule as Rule<unknown>, name: snakeCase(name) },
    ]),
  );
  return (value, field, violations) => {
    if (value === undefined) {
      if (options.required === true) violations.push({ field, description: 'one of its fields must be set' });
      return;
    }
    const parent = field.slice(0, field.lastIndexOf('.') + 1);
    const known = cases.get(value.$case);
    known?.rule(value.value, parent + known.name, violations);
  };
}

/** ts-proto's name of a field to the proto's. */
function snakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (upper) => `_${upper.toLowerCase()}`);
}
