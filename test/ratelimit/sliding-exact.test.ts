import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { createClient, RESP_TYPES } from 'redis';
import { pino } from 'pino';
import type { Call } from '../../src/redis/call.js';
import { keys } from '../../src/redis/keys.js';
import type { BoundScript } from '../../src/redis/lua-script.js';
import { Redis } from '../../src/redis/redis.js';
import {
  checkRateLimitScript,
  peekRateLimitScript,
  rateLimitScripts,
  refundRateLimitScript,
  type Decision,
  type OtherWindow,
} from '../../src/ratelimit/scripts.js';
import { until } from '../support/redis-server.js';
import { randomNamespace, sharedRedisUrl } from '../support/service.js';

/** The ring against a naive log of every unit. The model has no clock: it replays the times that the replies carry. */

const SEED = 20_261_121;
const port = Number(new URL(sharedRedisUrl('standalone')).port);

const redis = new Redis({
  target: { topology: 'standalone', host: '127.0.0.1', port, database: 0, tls: false },
  scripts: rateLimitScripts,
  logger: pino({ level: 'silent' }),
});
const raw = createClient({
  socket: { host: '127.0.0.1', port },
  commandOptions: { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer } },
});
const call: Call = { namespace: randomNamespace(), deadlineAt: Number.POSITIVE_INFINITY, ended: false };
const run = <Reply>(bound: BoundScript<Reply>): Promise<Reply> => redis.run(bound, call);

beforeAll(async () => {
  redis.connect();
  await raw.connect();
  await until(() => redis.isReady);
});
afterAll(() => {
  redis.destroy();
  raw.destroy();
});

const ringOf = (name: string): string => keys.rateLimit(call.namespace, name, 'model');

interface Terms {
  readonly limit: number;
  readonly windowMs: number;
  readonly cost: number;
}

const standing = keys.standing(call.namespace, 'nobody');

/** ARGV of one limit of SLIDING_EXACT. */
function limitArgs({ limit, windowMs, cost }: Terms): string[] {
  return ['1', String(limit), String(windowMs), String(cost), 'model', ''];
}

function callArgs(terms: Terms): { calls: string; minCost: string; chargeDenied: string; '...limits': string[] } {
  return { calls: '1', minCost: '0', chargeDenied: '0', '...limits': limitArgs(terms) };
}

/** The one limit of a decision, as the log tells of it. */
interface Checked {
  readonly admitted: boolean;
  readonly nowUs: number;
  readonly limits: readonly {
    readonly over: boolean;
    readonly used: number;
    readonly retryAfterUs: number;
    readonly resetAtUs: number;
    readonly time: number;
  }[];
}

function checkedOf(decision: Decision | OtherWindow): Checked {
  if (decision.admitted === undefined) throw new Error('no limit of the calendar was asked for');
  const admitted = decision.admitted > 0;
  const limits = (admitted ? decision.limits : decision.deniedLimits).map(
    ({ denial, used, retryAfterUs, resetAtUs, mark }) => ({
      ...{ over: denial !== undefined, used, retryAfterUs, resetAtUs, time: mark },
    }),
  );
  return { admitted, nowUs: decision.nowUs, limits };
}

async function check(ring: string, terms: Terms): Promise<Checked> {
  return checkedOf(await run(checkRateLimitScript.bind({ '...limits': [standing, ring] }, callArgs(terms))));
}

/** Every unit ever admitted, oldest first. */
class NaiveLog {
  private units: number[] = [];

  decide(nowUs: number, { limit, windowMs, cost }: Terms): Checked['limits'][number] {
    const windowUs = windowMs * 1_000;
    const newest = this.units.at(-1) ?? 0;
    const now = Math.max(nowUs, newest);
    const live = this.units.filter((unit) => unit + windowUs > now);
    if (live.length + cost > limit) {
      const mustGo = live[live.length - (limit - cost) - 1] ?? 0;
      return {
        over: true,
        used: live.length,
        retryAfterUs: mustGo + windowUs - nowUs,
        resetAtUs: newest + windowUs,
        time: 0,
      };
    }
    const time = Math.max(now, newest + 1);
    this.units = [...live, ...Array<number>(cost).fill(time)];
    return { over: false, used: live.length + cost, retryAfterUs: 0, resetAtUs: time + windowUs, time };
  }

  refund(time: number): void {
    this.units = this.units.filter((unit) => unit !== time);
  }
}

let checks = 0;

test('decides, counts and times like a naive log over 10^5 random weighted checks with refunds and moving limits', async () => {
  const step = fc.record({
    key: fc.nat(3),
    cost: fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 8 })),
    limit: fc.constantFrom(8, 9, 20, 64, 200),
    refund: fc.integer({ min: 0, max: 30 }).map((roll) => roll === 0),
  });
  const scenario = fc.record({
    windowMs: fc.constantFrom(10, 15, 40),
    steps: fc.array(step, { minLength: 1_500, maxLength: 2_500, size: 'max' }),
  });
  const BATCH = 100;
  await fc.assert(
    fc.asyncProperty(scenario, async ({ windowMs, steps }) => {
      const name = randomNamespace();
      const logs = Array.from({ length: 4 }, () => new NaiveLog());
      const admissions: { key: number; time: number; terms: Terms }[] = [];
      for (let at = 0; at < steps.length; at += BATCH) {
        const batch = steps.slice(at, at + BATCH);
        // sent at once, so Redis runs them in this order
        const replies = await Promise.all(
          batch.map((terms) => check(ringOf(`${name}-${String(terms.key)}`), { ...terms, windowMs })),
        );
        checks += batch.length;
        replies.forEach((reply, index) => {
          const terms = batch[index];
          if (terms === undefined) return;
          const expected = logs[terms.key]?.decide(reply.nowUs, { ...terms, windowMs });
          expect(reply).toEqual({ admitted: expected?.over === false, nowUs: reply.nowUs, limits: [expected] });
          if (reply.admitted)
            admissions.push({ key: terms.key, time: reply.limits[0]?.time ?? 0, terms: { ...terms, windowMs } });
        });
        for (const [index, { refund }] of batch.entries()) {
          const admission = refund ? admissions[admissions.length - 1 - index] : undefined;
          if (admission === undefined) continue;
          const ring = ringOf(`${name}-${String(admission.key)}`);
          const bound = refundRateLimitScript.bind(
            { record: ring },
            {
              mark: String(admission.time),
              chargedUs: String(admission.time),
              units: String(admission.terms.cost),
              standing: `standing:${ring}`,
              channel: `told:${ring}`,
              '...limits': limitArgs(admission.terms),
            },
          );
          await run(bound);
          // a second refund of the same admission finds nothing
          expect(await run(bound)).toBe(0);
          logs[admission.key]?.refund(admission.time);
        }
      }
    }),
    { seed: SEED, numRuns: 55, endOnFailure: true },
  );
  expect(checks).toBeGreaterThanOrEqual(100_000);
}, 120_000);

test.each([1, 2, 7, 100, 1_000, 8_192])(
  'a full ring of limit %s is no larger than its units and a header',
  async (limit) => {
    const ring = ringOf(`memory-${String(limit)}`);
    const terms = { limit, windowMs: 600_000, cost: 1 };
    let largest = 0;
    for (let admitted = 0; admitted < limit;) {
      const batch = Math.min(64, limit - admitted);
      await Promise.all(Array.from({ length: batch }, () => check(ring, terms)));
      admitted += batch;
      largest = Math.max(largest, (await raw.strLen(ring)) / Math.max(admitted, 4));
    }
    expect((await check(ring, terms)).admitted).toBe(false);
    expect(await raw.strLen(ring)).toBe(8 + 8 * limit);
    // on the way it holds at most a quarter more than it needs, rounded up
    expect(largest).toBeLessThanOrEqual(8 * 1.25 + 8);
  },
);

test('a subject of low traffic keeps a small ring, however long it lives', async () => {
  const ring = ringOf('low');
  const terms = { limit: 8_192, windowMs: 10, cost: 1 };
  for (let count = 0; count < 300; count++) await check(ring, terms);
  expect(await raw.strLen(ring)).toBeLessThan(8 * 300);
});

test('the key goes by itself when its last unit is a window old', async () => {
  const lasting = ringOf('lasting');
  await check(lasting, { limit: 3, windowMs: 600_000, cost: 2 });
  expect(await raw.pTTL(lasting)).toBeGreaterThan(0);
  const ring = ringOf('short');
  await check(ring, { limit: 3, windowMs: 30, cost: 2 });
  await until(async () => (await raw.exists(ring)) === 0);
});

/** A ring whose units were admitted that far from now, as if Redis's clock had been stepped. */
async function ringWithUnitsAt(name: string, offsetsMs: readonly number[]): Promise<string> {
  const ring = ringOf(name);
  const [seconds, micros] = await raw.sendCommand<Buffer[]>(['TIME']);
  const nowUs = Number(String(seconds)) * 1_000_000 + Number(String(micros));
  const bytes = Buffer.alloc(8 + 8 * offsetsMs.length);
  bytes.set([1, 8]);
  bytes.writeUInt16BE(0, 2);
  bytes.writeUInt16BE(offsetsMs.length, 4);
  offsetsMs.forEach((offsetMs, index) => {
    bytes.writeBigUInt64BE(BigInt(nowUs + offsetMs * 1_000), 8 + 8 * index);
  });
  await raw.set(ring, bytes);
  return ring;
}

test('a clock set back by less than a window admits nothing twice', async () => {
  const ring = await ringWithUnitsAt('back-2s', [2_000, 2_001, 2_002]);
  const terms = { limit: 3, windowMs: 10_000, cost: 1 };
  const denied = await check(ring, terms);
  expect(denied.admitted).toBe(false);
  expect(denied.limits[0]?.used).toBe(3);
  expect((await check(ring, { ...terms, limit: 4 })).admitted).toBe(true);
});

test('a clock set back by more than a window locks nobody out', async () => {
  const ring = await ringWithUnitsAt('back-1h', [3_600_000, 3_600_001, 3_600_002]);
  const terms = { limit: 3, windowMs: 10_000, cost: 1 };
  const reply = await check(ring, terms);
  expect(reply).toMatchObject({ admitted: true, limits: [{ used: 1 }] });
  const peek = await run(peekRateLimitScript.bind({ '...limits': [standing, ring] }, callArgs({ ...terms, cost: 2 })));
  expect(checkedOf(peek).limits[0]?.used).toBe(1);
});

test('a ring with a longer header of a later version is read, and rewritten when it is charged', async () => {
  const ring = await ringWithUnitsAt('later', [-3, -2, -1]);
  const old = await raw.get(ring);
  if (!Buffer.isBuffer(old)) throw new Error('no ring');
  const later = Buffer.concat([old.subarray(0, 8), Buffer.from('unknown!'), old.subarray(8)]);
  later.writeUInt8(16, 1);
  await raw.set(ring, later);
  const terms = { limit: 4, windowMs: 60_000, cost: 1 };
  expect((await check(ring, terms)).limits[0]?.used).toBe(4);
  expect((await check(ring, terms)).admitted).toBe(false);
});
