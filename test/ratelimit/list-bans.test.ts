import { Buffer } from 'node:buffer';
import { status as Code } from '@grpc/grpc-js';
import { expect, test } from '@jest/globals';
import type { BanState } from '../../src/gen/shardkeep/ratelimit/v1/ratelimit.js';
import { failureOf } from '../support/client.js';
import { until } from '../support/redis-server.js';
import { onEachTopology, sharedRedisUrl, startTestService, type TestService } from '../support/service.js';

const HOUR_MS = 3_600_000n;

async function listAll({ rateLimits }: TestService, subjectPrefix: string, pageSize = 100): Promise<BanState[]> {
  const all: BanState[] = [];
  let pageToken = Buffer.alloc(0);
  do {
    const page = await rateLimits.listBans({ subjectPrefix, pageSize, pageToken });
    expect(new Set(page.bans.map(({ subject }) => subject)).size).toBeLessThanOrEqual(pageSize);
    all.push(...page.bans);
    pageToken = Buffer.from(page.nextPageToken);
  } while (pageToken.length > 0);
  return all;
}

/** Each once: while tables of Redis grow or shrink, SCAN may find a key twice. */
const subjects = (bans: readonly BanState[]): string[] => [...new Set(bans.map(({ subject }) => subject))].toSorted();

onEachTopology('ListBans', (service, topology) => {
  test('tells of bans under all policies and under one until when they are, and why', async () => {
    const { rateLimits } = service();
    const forAll = await rateLimits.ban({ subject: 'tell:ada', ttlMs: HOUR_MS, reason: 'spam' });
    const forOne = await rateLimits.ban({ subject: 'tell:ada', policyName: 'chat', ttlMs: 2n * HOUR_MS });
    expect(await listAll(service(), 'tell:')).toEqual(
      expect.arrayContaining([
        { subject: 'tell:ada', policyName: '', expiresAtMs: forAll.expiresAtMs, reason: 'spam', ladderStep: 0 },
        { subject: 'tell:ada', policyName: 'chat', expiresAtMs: forOne.expiresAtMs, reason: '', ladderStep: 0 },
      ]),
    );
  });

  test('leaves out what is over, was ended, or is no ban', async () => {
    const { rateLimits } = service();
    await rateLimits.ban({ subject: 'gone:kept', ttlMs: HOUR_MS });
    await rateLimits.ban({ subject: 'gone:kept', policyName: 'chat', ttlMs: 1n });
    await rateLimits.ban({ subject: 'gone:ended', ttlMs: HOUR_MS });
    await rateLimits.unban({ subject: 'gone:ended' });
    await rateLimits.overrideRateLimit({ subject: 'gone:raised', policyName: 'chat', limit: 50, ttlMs: HOUR_MS });
    await until(async () => (await listAll(service(), 'gone:')).length === 1);
    expect(await listAll(service(), 'gone:')).toMatchObject([{ subject: 'gone:kept', policyName: '' }]);
  });

  test('finds the subjects that begin so, whatever they are called, in pages of any size', async () => {
    const { rateLimits } = service();
    const odd = [
      '{a}',
      '{a}b',
      '%7Ba',
      'a*',
      'ab',
      'a?',
      'a[b]',
      'a\\',
      '*',
      'ä',
      '🔒x',
      'a\n',
      'a:b',
      'x'.repeat(252),
    ];
    const names = odd.map((name) => `odd:${name}`);
    await Promise.all(names.map((subject) => rateLimits.ban({ subject, ttlMs: HOUR_MS })));
    for (const beginning of ['', '{', '{a}', '%', '%7', 'a', 'a*', 'a?', 'a[', 'a\\', '*', 'ä', '🔒', 'a\n', 'no']) {
      const prefix = `odd:${beginning}`;
      const expected = names.filter((name) => name.startsWith(prefix)).toSorted();
      expect(subjects(await listAll(service(), prefix, beginning === '' ? 3 : 100))).toEqual(expected);
    }
  });

  test('stays in its namespace, and takes no token of another list', async () => {
    const elsewhere = await startTestService({ REDIS_URL: sharedRedisUrl(topology) });
    const { rateLimits, locks } = service();
    await Promise.all([1, 2, 3, 4, 5].map((n) => rateLimits.ban({ subject: `mine:${String(n)}`, ttlMs: HOUR_MS })));
    await Promise.all(
      [1, 2, 3, 4, 5].map((n) => locks.acquireLock({ resources: [`mine:${String(n)}`], ttlMs: HOUR_MS })),
    );
    expect(await listAll(elsewhere, '')).toEqual([]);
    const { nextPageToken } = await rateLimits.listBans({ subjectPrefix: 'mine:', pageSize: 1 });
    const { nextPageToken: ofLocks } = await locks.listLocks({ prefix: 'mine:', pageSize: 1 });
    expect([nextPageToken.length, ofLocks.length].every((length) => length > 0)).toBe(true);
    for (const [client, subjectPrefix, pageToken] of [
      [elsewhere.rateLimits, 'mine:', nextPageToken],
      [rateLimits, 'mine', nextPageToken],
      [rateLimits, 'mine:', ofLocks],
    ] as const) {
      const failure = await failureOf(client.listBans({ subjectPrefix, pageToken }));
      expect(failure).toMatchObject({ code: Code.INVALID_ARGUMENT, fields: ['page_token'] });
    }
    await elsewhere.stop();
  });
});
