import { invalidArgument } from './errors.js';
import { nameOf } from './name-of.js';

/** A number of a call as the proto has it; `field` is what it is called here. Throws InvalidArgumentError for what is not whole. */
export function toInt64(value: number, field: string): bigint {
  if (!Number.isSafeInteger(value))
    throw invalidArgument(`${field} must be a whole number, not ${nameOf(value)}`, [field]);
  return BigInt(value);
}

export function toOptionalInt64(value: number | undefined, field: string): bigint | undefined {
  return value === undefined ? undefined : toInt64(value, field);
}

/** Of a field whose 0 says that there is none. */
export function unlessZero(value: bigint): number | undefined {
  return value === 0n ? undefined : Number(value);
}
