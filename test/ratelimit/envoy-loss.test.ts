import { randomUUID } from 'node:crypto';
import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { failureOf } from '../support/client.js';
import { startRedis, until, type RedisServer } from '../support/redis-server.js';
import { policiesFile, startTestService, type TestService } from '../support/service.js';
import { EnvoyClient, HOUR, OK, OVER_LIMIT, type Descriptor } from './envoy-support.js';

/** What proxies are answered while Redis is away: they let pass what is answered by an error. */

const LOSSES = { fail: 'fail', allow: 'allow', deny: 'deny', local: { local_fraction: 0.5 } };

let redis: RedisServer;
let service: TestService;
let envoy: EnvoyClient;

beforeAll(async () => {
  redis = await startRedis();
  const policies = Object.entries<unknown>(LOSSES).map(([name, loss]): [string, unknown] => [
    name,
    { algorithm: 'fixed', limit: 10, window_ms: 3_600_000, on_redis_loss: loss },
  ]);
  const descriptors = Object.keys(LOSSES).map((policy) => ({ key: policy, policy }));
  service = await startTestService({
    REDIS_URL: redis.url,
    POLICIES_FILE: policiesFile({
      rate_policies: Object.fromEntries(policies),
      envoy_domains: {
        edge: { descriptors: [...descriptors, { key: 'traffic', policy: 'local', charge_denied: true }] },
      },
    }),
  });
  envoy = new EnvoyClient(service.address);
});
afterAll(async () => {
  envoy.close();
  await service.stop();
  await redis.remove();
});

const one = (key: string, hits?: number): Descriptor => ({
  entries: [[key, randomUUID()]],
  ...(hits !== undefined && { hits }),
});
const ask = (...descriptors: Descriptor[]) => envoy.ask('edge', descriptors);

describe('while Redis is dead', () => {
  beforeAll(async () => {
    await until(async () => (await ask(one('fail'))).overall === OK);
    await redis.stop('SIGKILL');
  });

  test.each([
    ['allow', OK],
    ['deny', OVER_LIMIT],
    ['local', OK],
  ])('`%s` decides, of a look too', async (key, code) => {
    expect(await ask(one(key))).toMatchObject({ overall: code, codes: [code] });
    expect(await ask(one(key, 0))).toMatchObject({ overall: code, codes: [code] });
  });

  test('a share is admitted, looks take nothing of it, and who is over is told when to come back', async () => {
    const who = one('local');
    const look = { ...who, hits: 0 };
    for (let count = 0; count < 3; count++) expect((await ask(look)).statuses).toMatchObject([{ remaining: 5 }]);
    expect((await ask({ ...who, hits: 4 })).statuses).toMatchObject([
      { code: OK, limit: { name: 'local', requestsPerUnit: 5, unit: HOUR }, remaining: 1 },
    ]);
    expect((await ask({ ...who, hits: 2 })).statuses).toMatchObject([{ code: OVER_LIMIT, remaining: 1 }]);
    expect((await ask(who, look)).codes).toEqual([OK, OK]);
    const denied = await ask(look);
    expect(denied).toMatchObject({ overall: OVER_LIMIT, statuses: [{ remaining: 0 }] });
    expect(Number(denied.headers['retry-after'])).toBeGreaterThan(0);
  });

  test('all or nothing: with one that is denied nothing is charged', async () => {
    const who = one('local');
    expect((await ask(who, one('deny'))).codes).toEqual([OK, OVER_LIMIT]);
    expect((await ask({ ...who, hits: 5 }, one('allow'))).overall).toBe(OK);
  });

  test('`fail`, and a limit that came with a descriptor, are UNAVAILABLE', async () => {
    const limited = { ...one('allow'), limit: { requestsPerUnit: 5, unit: HOUR } };
    for (const descriptor of [one('fail'), limited]) {
      expect((await failureOf(ask(one('allow'), descriptor))).code).toBe(Code.UNAVAILABLE);
    }
  });

  test('what is not limited passes', async () => {
    expect((await ask(one('nothing'))).overall).toBe(OK);
  });
});
