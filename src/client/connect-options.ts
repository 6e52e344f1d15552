import { types } from 'node:util';
import {
  aFunction,
  either,
  numberFrom,
  oneOf,
  withMethods,
  type OptionRule,
  type OptionRules,
} from './option-check.js';

const ms = numberFrom(0);
const count = numberFrom(1, { isWhole: true });
const forEver = oneOf(Infinity);
const text: OptionRule = { expected: 'a text', is: (value) => typeof value === 'string' };

const pem: OptionRule = {
  expected: 'PEM, as a text or bytes',
  is: (value) => typeof value === 'string' || types.isUint8Array(value),
};

/** By ConnectOptions. What has rules of its own beyond these is checked where it is used. */
export const CONNECT_RULES = {
  transport: oneOf('pipeline', 'unary'),
  timeoutMs: either(numberFrom(1), forEver),
  retry: {
    maxAttempts: count,
    baseDelayMs: ms,
    maxDelayMs: ms,
    budget: numberFrom(1),
  },
  cache: {
    codec: withMethods('encode', 'decode'),
    schemaVersion: numberFrom(0, { isWhole: true }),
    migrate: aFunction,
    compressAboveBytes: either(numberFrom(0), forEver),
    onReadError: oneOf('miss', 'throw'),
    onWriteError: oneOf('log', 'throw'),
    circuit: { failures: count, openMs: numberFrom(1), maxOpenMs: numberFrom(1) },
    nearCache: {
      or: oneOf(true, false),
      rules: { maxBytes: ms, maxEntries: ms, maxAgeMs: ms, keys: aFunction },
    },
  },
  logger: either(oneOf(false), withMethods('debug', 'warn', 'error')),
  onBoot: aFunction,
  tls: { or: oneOf(true, false), rules: { ca: pem, cert: pem, key: pem, serverName: text } },
  token: either(text, aFunction),
} as const satisfies OptionRules;
