import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { parseRedisUrl } from '../../src/config/redis-url.js';
import type { Ask } from '../../src/ratelimit/limit-scripts.js';
import { rateLimitScripts } from '../../src/ratelimit/scripts.js';
import { StandingStore } from '../../src/ratelimit/standing-store.js';
import { RateLimitStore } from '../../src/ratelimit/store.js';
import type { LimitTerms, PolicyTerms } from '../../src/ratelimit/terms.js';
import type { Call } from '../../src/redis/call.js';
import type { BoundScript } from '../../src/redis/lua-script.js';
import { Redis } from '../../src/redis/redis.js';
import { until } from '../support/redis-server.js';
import { randomNamespace, sharedRedisUrl } from '../support/service.js';
import { ask, limitTerms } from './terms-support.js';

/** What a denied call over several subjects leaves behind on a Cluster: the same as on one Redis. */

const BLOCK_MS = 3_600_000;

/** A Redis where a test may do something just before a script runs. */
class InterruptedRedis extends Redis {
  before: (script: string) => Promise<unknown> | undefined = () => undefined;

  override async run<Reply>(bound: BoundScript<Reply>, call: Call): Promise<Reply> {
    await this.before(bound.script.name);
    return super.run(bound, call);
  }
}

const logger = pino({ level: 'silent' });
const redis = new InterruptedRedis({
  target: parseRedisUrl(sharedRedisUrl('cluster')),
  scripts: rateLimitScripts,
  logger,
});
const store = new RateLimitStore(redis, logger);
const people = new StandingStore(redis);
const call: Call = { namespace: randomNamespace(), deadlineAt: Number.POSITIVE_INFINITY, ended: false };

beforeAll(async () => {
  redis.connect();
  await until(() => redis.isReady);
});
afterAll(() => {
  redis.destroy();
});

/** A limit that is full, and two others that are not. */
async function newLimits(policy: Partial<PolicyTerms> = {}): Promise<[full: LimitTerms, ...others: LimitTerms[]]> {
  const name = randomNamespace();
  const full = limitTerms(`user:${name}`, { limit: 2, ...policy });
  await store.checkRateLimit([full], ask(2), call);
  return [full, ...['ip', 'guild'].map((kind) => limitTerms(`${kind}:${name}`, { limit: 5, ...policy }))];
}

async function usedOf(limits: readonly LimitTerms[]): Promise<number[]> {
  return (await store.peekRateLimit(limits, ask(1), call)).limits.map(({ used }) => used);
}

async function isAllowed(limits: readonly LimitTerms[], asked: Ask = ask(1)): Promise<boolean> {
  const { allowed, granted } = await store.checkRateLimit(limits, asked, call);
  expect(granted).toBe(allowed ? asked.cost : 0);
  return allowed;
}

test('a block begins for the subject whose limit denied, and for no other; nobody is charged', async () => {
  const limits = await newLimits({ blockMs: BLOCK_MS });
  const denied = await store.checkRateLimit(limits, ask(1), call);
  expect(denied.allowed).toBe(false);
  expect(denied.limits.map(({ denial }) => denial)).toEqual(['over', undefined, undefined]);
  expect(denied.limits[0]?.retryAfterMs).toBe(BLOCK_MS);
  expect(denied.limits[0]?.heldMs).toBe(BLOCK_MS);
  expect(await usedOf(limits)).toEqual([2, 0, 0]);
  expect(await isAllowed(limits.slice(1))).toBe(true);
});

test('denials lead to a ban', async () => {
  const ladder = { after: 2, withinMs: 60_000, stepsMs: [BLOCK_MS], decayMs: 60_000 };
  const limits = await newLimits({ ladder });
  const denials: unknown[] = [];
  for (let time = 0; time < 3; time++) {
    denials.push((await store.checkRateLimit(limits, ask(1), call)).limits.map(({ denial }) => denial));
  }
  expect(denials).toEqual([
    ['over', undefined, undefined],
    ['banned', undefined, undefined],
    ['banned', undefined, undefined],
  ]);
  expect(await usedOf(limits)).toEqual([2, 0, 0]);
});

test('a denied call that is to be charged is charged to all', async () => {
  const limits = await newLimits();
  expect(await isAllowed(limits, ask(2, { chargeDenied: true }))).toBe(false);
  expect(await usedOf(limits)).toEqual([2, 2, 2]);
  // for a part of it there is no room either
  expect(await isAllowed(limits, ask(3, { chargeDenied: true, minCost: 1 }))).toBe(false);
  expect(await usedOf(limits)).toEqual([2, 5, 5]);
});

test('a denied call that finds room after all is charged nowhere', async () => {
  const limits = await newLimits({ blockMs: BLOCK_MS });
  redis.before = (script) => {
    if (script !== 'check-rate-limit') return undefined;
    redis.before = () => undefined;
    return people.resetRateLimit(limits, call);
  };
  expect(await isAllowed(limits)).toBe(false);
  expect(await usedOf(limits)).toEqual([0, 0, 0]);
  expect(await isAllowed(limits)).toBe(true);
});

test('one that is to be charged when denied is admitted where there is room after all', async () => {
  const limits = await newLimits();
  redis.before = (script) => {
    if (script !== 'check-rate-limit') return undefined;
    redis.before = () => undefined;
    return people.resetRateLimit(limits, call);
  };
  expect(await isAllowed(limits, ask(1, { chargeDenied: true }))).toBe(true);
  expect(await usedOf(limits)).toEqual([1, 1, 1]);
});
