import { expect, test } from '@jest/globals';
import { connect, InvalidArgumentError } from '../../src/client/index.js';

/** The `fields` of the refusal; undefined where the options are taken. */
function refusedFields(options: unknown): readonly string[] | undefined {
  try {
    void connect('127.0.0.1:1', options as object).close();
    return undefined;
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
    return error.fields;
  }
}

test.each<[string, unknown, string[]]>([
  ['no options', 'fast', ['options']],
  ['null', null, ['options']],
  ['a misspelt name', { timeout: 5 }, ['timeout']],
  ['a name of Object', { constructor: 5 }, ['constructor']],
  ['no time', { timeoutMs: 0 }, ['timeoutMs']],
  ['a time before', { timeoutMs: -1 }, ['timeoutMs']],
  ['a time that is none', { timeoutMs: NaN }, ['timeoutMs']],
  ['a time in words', { timeoutMs: '2000' }, ['timeoutMs']],
  ['another transport', { transport: 'http' }, ['transport']],
  ['no attempt', { retry: { maxAttempts: 0 } }, ['retry.maxAttempts']],
  ['half an attempt', { retry: { maxAttempts: 1.5 } }, ['retry.maxAttempts']],
  ['a delay that is none', { retry: { baseDelayMs: NaN } }, ['retry.baseDelayMs']],
  ['retries in a word', { retry: 'never' }, ['retry']],
  ['another way to fail', { cache: { onReadError: 'MISS' } }, ['cache.onReadError']],
  ['a write that is only logged', { cache: { onWriteError: 'miss' } }, ['cache.onWriteError']],
  ['a circuit that never opens', { cache: { circuit: { failures: 0 } } }, ['cache.circuit.failures']],
  ['half a codec', { cache: { codec: { encode: () => Buffer.alloc(0) } } }, ['cache.codec']],
  ['a near cache in a word', { cache: { nearCache: 'yes' } }, ['cache.nearCache']],
  ['a near cache of a misspelt size', { cache: { nearCache: { maxSize: 5 } } }, ['cache.nearCache.maxSize']],
  ['half a logger', { logger: { warn: () => undefined } }, ['logger']],
  ['no function', { onBoot: 'warm' }, ['onBoot']],
  ['a misspelt certificate', { tls: { cacert: 'x' } }, ['tls.cacert']],
  ['certificates that are none', { tls: { ca: 'x' } }, ['tls']],
  ['a token that is no text', { token: 5 }, ['token']],
  ['several', { timeoutMs: 0, cache: { x: 1 }, retry: {} }, ['timeoutMs', 'cache.x']],
])('%s is refused by name', (_, options, fields) => {
  expect(refusedFields(options)).toEqual(fields);
});

test('what may be absent may be undefined', () => {
  const absent = { transport: undefined, timeoutMs: undefined, retry: undefined, cache: { codec: undefined } };
  expect(refusedFields({ ...absent, logger: undefined, tls: undefined, token: undefined })).toBeUndefined();
  expect(
    refusedFields({ timeoutMs: Infinity, cache: { nearCache: false, compressAboveBytes: Infinity } }),
  ).toBeUndefined();
});
