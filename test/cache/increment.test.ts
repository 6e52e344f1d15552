import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { failureOf } from '../support/client.js';
import { rawRedis, type RawRedis } from '../support/raw-redis.js';
import { onEachTopology, randomNamespace } from '../support/service.js';

const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;

interface Step {
  readonly delta: bigint;
  readonly floor: bigint | undefined;
  readonly ceiling: bigint | undefined;
}

/** 64-bit numbers, often near where arithmetic goes wrong. */
const int64 = fc.oneof(
  fc.bigInt({ min: INT64_MIN, max: INT64_MAX }),
  fc.bigInt({ min: -3n, max: 3n }),
  fc
    .tuple(
      fc.constantFrom(INT64_MIN, INT64_MAX, 2n ** 53n, -(2n ** 53n), 10n ** 9n, -(10n ** 9n), 10n ** 18n),
      fc.bigInt({ min: -2n, max: 2n }),
    )
    .map(([edge, offset]) => BigInt.asIntN(64, edge + offset)),
);
const bound = fc.option(int64, { nil: undefined, freq: 3 });
const step: fc.Arbitrary<Step> = fc
  .record({ delta: int64, floor: bound, ceiling: bound })
  .filter(({ floor, ceiling }) => floor === undefined || ceiling === undefined || floor <= ceiling);

function modelled(value: bigint, { delta, floor, ceiling }: Step): { outcome: string; value: bigint } {
  const sum = value + delta;
  if (sum < INT64_MIN || sum > INT64_MAX) return { outcome: 'overflow', value };
  if ((floor !== undefined && sum < floor) || (ceiling !== undefined && sum > ceiling)) {
    return { outcome: 'refused', value };
  }
  return { outcome: 'applied', value: sum };
}

onEachTopology('a counter', (service, topology) => {
  let raw: RawRedis;
  beforeAll(async () => {
    raw = await rawRedis(topology);
  });
  afterAll(async () => {
    await raw.close();
  });

  const redisKey = (key: string): string => `${service().namespace}:cache:{${key}}`;

  test('adds as BigInt does, within bounds and 64 bits', async () => {
    const { cache } = service();
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), async (steps) => {
        const key = `model:${randomNamespace()}`;
        let value = 0n;
        for (const next of steps) {
          const expected = modelled(value, next);
          const call = cache.increment({ key, ...next });
          const overflow = expected.outcome === 'overflow';
          expect(await (overflow ? failureOf(call) : call)).toMatchObject(
            overflow
              ? { code: Code.FAILED_PRECONDITION, reason: 'COUNTER_OVERFLOW' }
              : { applied: expected.outcome === 'applied', value: expected.value },
          );
          value = expected.value;
        }
      }),
      { numRuns: 150 },
    );
  });

  test('refused at its creation is not created', async () => {
    const { cache } = service();
    expect(await cache.increment({ key: 'never', delta: 1n, ceiling: 0n })).toEqual({ applied: false, value: 0n });
    expect(await cache.exists({ keys: ['never'] })).toEqual({ exists: [false] });
    expect(await cache.increment({ key: 'never', delta: 0n })).toEqual({ applied: true, value: 0n });
    expect(await cache.exists({ keys: ['never'] })).toEqual({ exists: [true] });
  });

  test('gets its expiry when it is created, and keeps it', async () => {
    const { cache } = service();
    const pttl = async (key: string): Promise<number> => Number(await raw.command('PTTL', redisKey(key)));
    await cache.increment({ key: 'expiring', delta: 1n, expiry: { $case: 'ttlMs', value: 5_000n } });
    await cache.increment({ key: 'expiring', delta: 1n, expiry: { $case: 'ttlMs', value: 50_000n } });
    await cache.increment({ key: 'expiring', delta: 1n, expiry: { $case: 'noExpiry', value: true } });
    expect(await pttl('expiring')).toBeGreaterThan(0);
    expect(await pttl('expiring')).toBeLessThanOrEqual(5_000);

    await cache.increment({ key: 'lasting', expiry: { $case: 'noExpiry', value: true } });
    await cache.increment({ key: 'lasting', expiry: { $case: 'ttlMs', value: 1n } });
    expect(await pttl('lasting')).toBe(-1);

    await cache.increment({ key: 'default' });
    expect(await pttl('default')).toBeGreaterThan(50_000);
    expect(await pttl('default')).toBeLessThanOrEqual(60_000);
  });

  test('is a bare integer in Redis', async () => {
    await service().cache.increment({ key: 'bare', delta: INT64_MIN });
    expect(String(await raw.command('GET', redisKey('bare')))).toBe(String(INT64_MIN));
  });

  describe('holds no text that is not exactly a 64-bit integer:', () => {
    test.each([
      ...[
        '',
        'ten',
        '1.5',
        '1e3',
        '007',
        '-0',
        '+5',
        ' 5',
        '5 ',
        '0x10',
        '9223372036854775808',
        '-9223372036854775809',
      ],
      ...['9999999999999999999', '10000000000000000000', '1'.repeat(40)],
    ])('%j', async (text) => {
      const key = `text:${randomNamespace()}`;
      await raw.command('SET', redisKey(key), text);
      expect(await failureOf(service().cache.increment({ key, delta: -1n }))).toMatchObject({
        code: Code.FAILED_PRECONDITION,
        reason: 'WRONG_TYPE',
      });
      expect(String(await raw.command('GET', redisKey(key)))).toBe(text);
    });
  });
});
