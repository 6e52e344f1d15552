import { performance } from 'node:perf_hooks';
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { connect, type ConnectOptions } from '../../src/client/index.js';
import { WarningLogger } from '../../src/client/warning-logger.js';
import { freeAddress } from '../support/free-address.js';

interface Warning {
  readonly message: string | Error;
  readonly options: unknown;
}

/** What the process was warned of. */
const warned: Warning[] = [];

beforeEach(() => {
  warned.length = 0;
  jest.spyOn(process, 'emitWarning').mockImplementation((message: string | Error, options?: unknown) => {
    warned.push({ message, options });
  });
});
afterEach(() => {
  jest.restoreAllMocks();
});

async function lostWrites(options: ConnectOptions = {}): Promise<void> {
  const client = connect(await freeAddress(), { retry: { maxAttempts: 1 }, ...options });
  for (let count = 0; count < 20; count++) await client.cache.set('k', count);
  await client.close();
}

test('by default a write that is lost is a warning of the process, once', async () => {
  await lostWrites();
  const lost = warned.filter(({ message }) => message === 'a value is lost');
  expect(lost).toHaveLength(1);
  expect(lost[0]?.options).toEqual({ type: 'ShardkeepWarning', detail: expect.stringContaining('UNAVAILABLE') });
  // and that the cache is away
  expect(warned).toHaveLength(2);
});

test('logger: false is silent', async () => {
  await lostWrites({ logger: false });
  expect(warned).toEqual([]);
});

test('each message is said once in a while, without the stack of its error', () => {
  const logger = new WarningLogger();
  for (let count = 0; count < 3; count++) {
    logger.warn({ err: new RangeError('too far'), resources: ['a'] }, 'one');
    logger.error({}, 'other');
  }
  logger.debug();
  expect(warned.map(({ message }) => message)).toEqual(['one', 'other']);
  expect(warned[0]?.options).toMatchObject({ detail: "err: too far, resources: [ 'a' ]" });
});

test('after a minute it is said again, with how often it was left out', () => {
  const clock = jest.spyOn(performance, 'now');
  const logger = new WarningLogger();
  const times = [0, 1, 59_999, 60_000, 119_999, 120_000];
  for (const [index, time] of times.entries()) {
    clock.mockReturnValue(time);
    logger.warn({ suppressed: index === 1 ? 10 : 0 }, 'lost');
  }
  expect(warned.map(({ message }) => message)).toEqual([
    'lost',
    'lost (and 12 times before)',
    'lost (and 1 times before)',
  ]);
  expect(warned[0]?.options).toMatchObject({ detail: '' });
});
