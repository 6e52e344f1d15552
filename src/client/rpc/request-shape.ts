import { Buffer } from 'node:buffer';
import { types } from 'node:util';
import { MESSAGES, REQUESTS } from '../../gen/request-shapes.js';
import { invalidArgument } from '../errors.js';
import { nameOf } from '../name-of.js';

/** Whether a value is of a type; where it is, what goes over the wire. */
type Reader = (value: unknown, path: string, wrong: Wrong) => unknown;

/** What each has to be, and is not, by path. */
type Wrong = Map<string, string>;

/** Of the standard's proto, which is none of this service's. */
const HEALTH_REQUEST = 'grpc.health.v1.HealthCheckRequest';
const NAMES: typeof REQUESTS = {
  ...REQUESTS,
  'grpc.health.v1.Health/Check': HEALTH_REQUEST,
  'grpc.health.v1.Health/Watch': HEALTH_REQUEST,
};
const SHAPES: typeof MESSAGES = { ...MESSAGES, [HEALTH_REQUEST]: { service: 'string' } };

/** More than any request may have. */
const MAX_ITEMS = 65_536;
/** As many as the service names. */
const MAX_WRONG = 32;

const INT32 = 0x80000000;
const UINT32 = 0x100000000;

const SCALARS: Readonly<Record<string, Reader>> = {
  string: readString,
  bool: typed('true or false', (value) => typeof value === 'boolean'),
  bytes: typed('bytes', (value) => types.isUint8Array(value)),
  double: typed('a number', (value) => typeof value === 'number'),
  int32: typed('a whole number of 32 bits', (value) => isWithin(value, -INT32, INT32)),
  enum: typed('a value of the enum', (value) => isWithin(value, 0, INT32)),
  uint32: typed('a whole number of 32 bits, not negative', (value) => isWithin(value, 0, UINT32)),
  int64: typed('a bigint of 64 bits', (value) => typeof value === 'bigint' && BigInt.asIntN(64, value) === value),
};

/** Of a field that is left out; of the others undefined says that. */
const DEFAULTS: Readonly<Record<string, unknown>> = {
  string: '',
  bool: false,
  bytes: Buffer.alloc(0),
  double: 0,
  int32: 0,
  enum: 0,
  uint32: 0,
  int64: 0n,
};

/**
 * Makes what a caller gave the whole message of an RPC: fields that are absent have their defaults, also in the messages within.
 * Throws InvalidArgumentError naming every field that has another type than the proto says, which the encoder would make
 * into a text or a list of its own.
 */
export function requestReader(rpc: string): (request: unknown) => object {
  const name = NAMES[rpc];
  if (name === undefined) throw new TypeError(`no request is known of ${rpc}`);
  const read = messageReader(name);
  return (request) => {
    const wrong: Wrong = new Map();
    const message = read(request, '', wrong);
    if (wrong.size === 0) return message as object;
    const problems = Array.from(wrong, ([path, mustBe]) => `${path || 'the request'} must be ${mustBe}`);
    throw invalidArgument(problems.join(', '), [...wrong.keys()]);
  };
}

const messageReaders = new Map<string, Reader>();

function messageReader(name: string): Reader {
  const known = messageReaders.get(name);
  if (known !== undefined) return known;
  const fields = Object.entries(SHAPES[name] ?? {}).map(
    ([field, type]) => [field, typeof type === 'string' ? fieldReader(type) : oneofReader(type)] as const,
  );
  const reader: Reader = (value, path, wrong) => {
    if (!isObject(value)) return refuse(wrong, path, { expected: 'an object', value });
    const at = path === '' ? '' : `${path}.`;
    const message: Record<string, unknown> = {};
    for (const [field, read] of fields) message[field] = read(value[field], at + field, wrong);
    return message;
  };
  messageReaders.set(name, reader);
  return reader;
}

function fieldReader(type: string): Reader {
  if (type.endsWith('[]')) return listReader(elementReader(type.slice(0, -2)));
  if (type.endsWith('{}')) return mapReader(elementReader(type.slice(0, -2)));
  const canBeAbsent = type.endsWith('?');
  const name = canBeAbsent ? type.slice(0, -1) : type;
  if (canBeAbsent && name.endsWith('[]')) return optional(listReader(elementReader(name.slice(0, -2))), undefined);
  return optional(elementReader(name), canBeAbsent ? undefined : DEFAULTS[name]);
}

function elementReader(name: string): Reader {
  return SCALARS[name] ?? messageReader(name);
}

function listReader(element: Reader): Reader {
  return optional((value, path, wrong) => {
    if (!Array.isArray(value)) return refuse(wrong, path, { expected: 'a list', value });
    if (value.length > MAX_ITEMS)
      return refuse(wrong, path, { expected: `a list of at most ${String(MAX_ITEMS)}`, value });
    // and not map(), which leaves holes as they are
    return Array.from<unknown, unknown>(value, (each, index) => element(each, `${path}[${String(index)}]`, wrong));
  }, []);
}

function mapReader(element: Reader): Reader {
  return optional((value, path, wrong) => {
    if (!types.isMap(value)) return refuse(wrong, path, { expected: 'a Map', value });
    const read = new Map<unknown, unknown>();
    for (const [key, each] of value) {
      const at = `${path}[${String(key)}]`;
      read.set(SCALARS.string?.(key, at, wrong), element(each, at, wrong));
    }
    return read;
  }, new Map());
}

/** ts-proto has a oneof as the name of the case and its value. */
function oneofReader(cases: Readonly<Record<string, string>>): Reader {
  const readers = new Map(Object.entries(cases).map(([name, type]) => [name, elementReader(type.replace('?', ''))]));
  return optional((value, path, wrong) => {
    const name = isObject(value) ? value.$case : undefined;
    const read = typeof name === 'string' ? readers.get(name) : undefined;
    if (read === undefined || !isObject(value)) {
      return refuse(wrong, path, { expected: `one of ${[...readers.keys()].join(', ')}`, value });
    }
    const at = path.slice(0, path.lastIndexOf('.') + 1) + String(name);
    return { $case: name, value: read(value.value, at, wrong) };
  }, undefined);
}

/** JavaScript has two words for what is not there. */
function optional(read: Reader, absent: unknown): Reader {
  return (value, path, wrong) => (value === undefined || value === null ? absent : read(value, path, wrong));
}

function typed(expected: string, is: (value: unknown) => boolean): Reader {
  return (value, path, wrong) => (is(value) ? value : refuse(wrong, path, { expected, value }));
}

function note(wrong: Wrong, path: string, expected: string): void {
  if (wrong.size < MAX_WRONG) wrong.set(path, expected);
}

function readString(value: unknown, path: string, wrong: Wrong): unknown {
  if (typeof value !== 'string') return refuse(wrong, path, { expected: 'a string', value });
  if (!isWellFormed(value)) note(wrong, path, 'a string without lone surrogates');
  return value;
}

function refuse(
  wrong: Wrong,
  path: string,
  { expected, value }: { readonly expected: string; readonly value: unknown },
): unknown {
  note(wrong, path, `${expected}, not ${nameOf(value)}`);
  return undefined;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

function isWithin(value: unknown, from: number, below: number): boolean {
  return typeof value === 'number' && Number.isInteger(value) && value >= from && value < below;
}

/** One that lost its other half would be sent as U+FFFD, as every other such text. */
function isWellFormed(text: string): boolean {
  return !/\p{Surrogate}/u.test(text);
}
