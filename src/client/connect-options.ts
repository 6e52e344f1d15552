import { types } from 'node:util';
import type { CacheOptions } from './cache/cache.js';
import type { CircuitOptions } from './cache/circuit.js';
import type { NearCacheOptions } from './cache/near/near-cache.js';
import type { TlsOptions } from './credentials.js';
import {
  callable,
  duration,
  either,
  flag,
  nonEmptyText,
  numberFrom,
  oneOf,
  optional,
  shape,
  text,
  that,
  thing,
  wholeNumber,
} from './option-checks.js';
import type { RetryOptions } from './transport/retrying-transport.js';

/** What a timer can wait. */
const MAX_TIMER_MS = 0x7fffffff;
const delay = optional(numberFrom(0, MAX_TIMER_MS));
const count = optional(wholeNumber(1, Number.MAX_SAFE_INTEGER));
const pem = optional(
  that('PEM, as a text or bytes', (value) => typeof value === 'string' || types.isUint8Array(value)),
);

/** Of `connect`. What has rules of its own beyond these is checked where it is used. */
export const CONNECT_CHECKS = {
  transport: optional(oneOf('pipeline', 'unary')),
  timeoutMs: optional(duration),
  retry: optional(
    shape<RetryOptions>({ maxAttempts: count, baseDelayMs: delay, maxDelayMs: delay, budget: optional(numberFrom(1)) }),
  ),
  cache: optional(
    shape<CacheOptions>({
      codec: optional(thing('a codec', 'encode', 'decode')),
      schemaVersion: optional(wholeNumber(0, Number.MAX_SAFE_INTEGER)),
      migrate: optional(callable),
      compressAboveBytes: optional(numberFrom(0)),
      onReadError: optional(oneOf('miss', 'throw')),
      onWriteError: optional(oneOf('log', 'throw')),
      circuit: optional(
        shape<CircuitOptions>({
          failures: count,
          openMs: optional(numberFrom(1, MAX_TIMER_MS)),
          maxOpenMs: optional(numberFrom(1, MAX_TIMER_MS)),
        }),
      ),
      nearCache: optional(
        either(
          flag,
          shape<NearCacheOptions>({
            maxBytes: optional(numberFrom(0)),
            maxEntries: optional(numberFrom(0)),
            maxAgeMs: optional(numberFrom(0)),
            keys: optional(callable),
          }),
        ),
      ),
    }),
  ),
  logger: optional(either(oneOf(false), thing('a logger with debug, warn and error', 'debug', 'warn', 'error'))),
  onBoot: optional(callable),
  tls: optional(either(flag, shape<TlsOptions>({ ca: pem, cert: pem, key: pem, serverName: optional(nonEmptyText) }))),
  traceContext: optional(callable),
  token: optional(either(callable, text('a text', /^/))),
  namespace: optional(text('1 to 32 of a-z, 0-9, _ and -', /^[a-z0-9_-]{1,32}$/)),
};
