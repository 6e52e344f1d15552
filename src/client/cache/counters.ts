import { randomUUID } from 'node:crypto';
import { IncrementRequest } from '../../gen/shardkeep/cache/v1/cache.js';
import type { Rpc } from '../rpc/rpc.js';
import { CALL_OPTIONS, type CallOptions } from '../transport/method.js';
import type { Degrading } from './degrading.js';
import { guardOf, type Guard } from './entries.js';
import { EXPIRY_OPTIONS, expiryOf, type ExpiryOptions } from './expiry.js';
import { optionsIn, wholeNumberIn, type OptionNames } from '../arguments.js';

export interface IncrementOptions extends ExpiryOptions, CallOptions {
  /** What would leave these bounds is not added. */
  readonly floor?: number | bigint;
  readonly ceiling?: number | bigint;
  /** A retry with the same id within 10 minutes counts once; one is made for each call by default. 16 to 128 bytes. */
  readonly requestId?: string;
  readonly guard?: Guard;
}

const INCREMENT_OPTIONS: OptionNames<IncrementOptions> = {
  ...EXPIRY_OPTIONS,
  ...CALL_OPTIONS,
  floor: true,
  ceiling: true,
  requestId: true,
  guard: true,
};

export interface Incremented {
  /** False: the result would have left `floor` to `ceiling`, and nothing changed. */
  readonly applied: boolean;
  /** The counter's value now. */
  readonly value: bigint;
}

/** Adds to a counter, once however often it has to be sent. A count cannot be made up, so a failure is always an error. */
export async function increment(
  rpc: Rpc['cache'],
  degrading: Degrading,
  key: string,
  delta: bigint,
  options: IncrementOptions,
): Promise<Incremented> {
  optionsIn(options, INCREMENT_OPTIONS);
  const request = IncrementRequest.fromPartial({
    key,
    delta,
    floor: bound(options.floor, 'floor'),
    ceiling: bound(options.ceiling, 'ceiling'),
    requestId: options.requestId ?? randomUUID(),
    guard: guardOf(options.guard),
  });
  request.expiry = expiryOf(options);
  return degrading.ask(() => rpc.increment(request, { retrySafe: true, ...options }), options);
}

/** A count as a number, where it is one exactly. */
export function exactNumber(value: bigint): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number))
    throw new RangeError('the counter is beyond 2^53; it was added. Use a bigint as the delta to read such counters');
  return number;
}

/** What to add as the contract has it. */
export function wholeDelta(delta: number | bigint): bigint {
  if (typeof delta === 'bigint') return delta;
  return BigInt(wholeNumberIn(delta, 'delta', EXACT));
}

const EXACT = { min: Number.MIN_SAFE_INTEGER, max: Number.MAX_SAFE_INTEGER };

function bound(value: number | bigint | undefined, field: string): bigint | undefined {
  if (value === undefined || typeof value === 'bigint') return value;
  return BigInt(wholeNumberIn(value, field, EXACT));
}
