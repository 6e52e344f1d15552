import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { connect, InvalidArgumentError, type ShardkeepClient } from '../../src/client/index.js';
import { sharedRedisUrl, startTestService, type TestService } from '../support/service.js';

/** A name with a typing error: who made it is told which one it is, and those that there are. */

let service: TestService;
let shardkeep: ShardkeepClient;
beforeAll(async () => {
  service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
  shardkeep = connect(service.address, { timeoutMs: 30_000, logger: false });
});
afterAll(async () => {
  await shardkeep.close();
  await service.stop();
});

const rows: readonly [string, () => Promise<unknown>, string, readonly string[]][] = [
  ['check', () => shardkeep.rateLimits.check('user:ada', 'chatt'), 'limits[0].policyName', ['chatt', 'chat']],
  [
    'overrideRateLimit',
    () => shardkeep.rateLimits.overrideRateLimit('user:ada', 'chatt', { limit: 1, ttlMs: 1_000 }),
    'policyName',
    ['chatt', 'chat'],
  ],
  [
    'createSession',
    () => shardkeep.sessions.createSession({ userId: 'ada', profile: 'gmae' }),
    'profile',
    ['gmae', 'game', 'default'],
  ],
];

test.each(rows)('%s', async (_, call, field, names) => {
  const error: unknown = await call().catch((thrown: unknown) => thrown);
  if (!(error instanceof InvalidArgumentError)) throw new Error('it was taken', { cause: error });
  expect(error).toMatchObject({ reason: 'INVALID_FIELD', fields: [field] });
  for (const name of names) expect(error.message).toContain(JSON.stringify(name));
});
