import { Buffer } from 'node:buffer';
import { status as Code } from '@grpc/grpc-js';
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { LockSummary } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { decodeListToken, encodeListToken, type ListPlace, type ListScope } from '../../src/redis/list-token.js';
import { failureOf } from '../support/client.js';
import { until } from '../support/redis-server.js';
import { onEachTopology, sharedRedisUrl, startTestService, type TestService } from '../support/service.js';
import { fenceOf, hold, queueUp } from './operations-support.js';

type Locks = TestService['locks'];

/** All pages; `meanwhile` runs after each. */
async function listAll(
  locks: Locks,
  request: { readonly prefix: string; readonly pageSize?: number },
  meanwhile: (page: number) => Promise<unknown> = () => Promise.resolve(),
): Promise<LockSummary[]> {
  const all: LockSummary[] = [];
  let pageToken = Buffer.alloc(0);
  for (let page = 0; ; page++) {
    const answer = await locks.listLocks({ ...request, pageToken });
    expect(answer.locks.length).toBeLessThanOrEqual(request.pageSize ?? 100);
    all.push(...answer.locks);
    pageToken = Buffer.from(answer.nextPageToken);
    if (pageToken.length === 0) return all;
    await meanwhile(page);
  }
}

/** Each once: while tables of Redis grow or shrink, which other tests make them do, SCAN may find a key twice. */
function names(locks: readonly LockSummary[]): string[] {
  return [...new Set(locks.map(({ resource }) => resource))].toSorted();
}

const numbered = (prefix: string, count: number): string[] =>
  Array.from({ length: count }, (_, index) => `${prefix}${String(index).padStart(4, '0')}`);

onEachTopology('ListLocks', (service, topology) => {
  test('tells of each lock who holds it, how many do and wait, and its fencing token', async () => {
    const { locks } = service();
    const granted = await hold(locks, 'tell:held', { owner: 'shard-1' });
    await queueUp(locks, 'tell:held');
    for (let each = 0; each < 3; each++) await hold(locks, 'tell:shared', { permits: 1, owner: 'reader' });
    const found = await listAll(locks, { prefix: 'tell:' });
    expect(names(found)).toEqual(['tell:held', 'tell:shared']);
    expect(found.find(({ resource }) => resource === 'tell:held')).toMatchObject({
      holder: { owner: 'shard-1', fencingToken: fenceOf(granted), expiresAtMs: granted.expiresAtMs, permits: 0 },
      holderCount: 1n,
      waitingCount: 1n,
      fencingToken: fenceOf(granted),
      delayLeftMs: 0n,
    });
    expect(found.find(({ resource }) => resource === 'tell:shared')).toMatchObject({
      holder: { owner: 'reader', permits: 1 },
      holderCount: 3n,
      waitingCount: 0n,
    });
  });

  test('leaves out what is free again, though its fence is remembered', async () => {
    const { locks } = service();
    await hold(locks, 'gone:kept');
    const { lockToken } = await hold(locks, 'gone:released');
    await locks.releaseLock({ resources: ['gone:released'], lockToken });
    await hold(locks, 'gone:over', { ttlMs: 1n });
    await until(async () => (await locks.getLock({ resource: 'gone:over' })).holders.length === 0);
    expect(names(await listAll(locks, { prefix: 'gone:' }))).toEqual(['gone:kept']);
  });

  test('finds the resources that begin so, whatever they are called', async () => {
    const { locks } = service();
    const odd = [
      '{a}',
      '{a}b',
      '%7Ba',
      'a*',
      'ab',
      'a?',
      'a[b]',
      'a\\',
      'a\\*',
      '*',
      'ä',
      '🔒x',
      'a\n',
      'x'.repeat(508),
    ];
    await Promise.all(odd.map((name) => hold(locks, `odd:${name}`)));
    for (const beginning of [
      '',
      '{',
      '{a}',
      '%',
      '%7',
      'a',
      'a*',
      'a?',
      'a[',
      'a\\',
      '*',
      'ä',
      '🔒',
      'a\n',
      'xx',
      'no',
    ]) {
      const prefix = `odd:${beginning}`;
      const expected = odd.map((name) => `odd:${name}`).filter((name) => name.startsWith(prefix));
      expect(names(await listAll(locks, { prefix }))).toEqual(expected.toSorted());
    }
    const all = names(await listAll(locks, { prefix: '', pageSize: 7 }));
    expect(all).toEqual(expect.arrayContaining(odd.map((name) => `odd:${name}`)));
  });

  test.each([1, 3, 50, 1_000])('in pages of %i lists each', async (pageSize) => {
    const { locks } = service();
    const prefix = `paged:${String(pageSize)}:`;
    const expected = numbered(prefix, pageSize === 1 ? 40 : 300);
    await Promise.all(expected.map((name) => hold(locks, name)));
    expect(names(await listAll(locks, { prefix, pageSize }))).toEqual(expected);
  });

  test('lists what is there all the time, while others come and go, and over other services', async () => {
    const { locks, namespace } = service();
    const other = await startTestService({ REDIS_URL: sharedRedisUrl(topology), NAMESPACE: namespace });
    const lasting = numbered('lasting:', 300);
    await Promise.all(lasting.map((name) => hold(locks, name)));
    let fleeting: (readonly [name: string, lockToken: string])[] = [];
    // the table of Redis grows while the list goes on
    const change = async (page: number): Promise<void> => {
      if (page % 4 === 0) {
        await Promise.all(fleeting.map(([name, lockToken]) => locks.releaseLock({ resources: [name], lockToken })));
        fleeting = [];
      }
      if (page > 60) return;
      const coming = numbered(`lasting:${String(page)}:`, 60);
      fleeting.push(
        ...(await Promise.all(coming.map(async (name) => [name, (await hold(locks, name)).lockToken] as const))),
      );
    };
    const found = new Set<string>();
    let pageToken = Buffer.alloc(0);
    for (let page = 0; ; page++) {
      const from = page % 2 === 0 ? locks : other.locks;
      const answer = await from.listLocks({ prefix: 'lasting:', pageSize: 20, pageToken });
      for (const { resource } of answer.locks) found.add(resource);
      pageToken = Buffer.from(answer.nextPageToken);
      if (pageToken.length === 0) break;
      await change(page);
    }
    expect(lasting.filter((name) => !found.has(name))).toEqual([]);
    await other.stop();
  });

  test('stays in its namespace, and takes no token of another list', async () => {
    const { locks } = service();
    const elsewhere = await startTestService({ REDIS_URL: sharedRedisUrl(topology) });
    await Promise.all(numbered('mine:', 5).map((name) => hold(locks, name)));
    expect(await listAll(elsewhere.locks, { prefix: '' })).toEqual([]);
    const { nextPageToken } = await locks.listLocks({ prefix: 'mine:', pageSize: 1 });
    expect(nextPageToken.length).toBeGreaterThan(0);
    for (const [client, prefix] of [
      [elsewhere.locks, 'mine:'],
      [locks, 'mine'],
    ] as const) {
      const failure = await failureOf(client.listLocks({ prefix, pageToken: nextPageToken }));
      expect(failure).toMatchObject({ code: Code.INVALID_ARGUMENT, fields: ['page_token'] });
    }
    await elsewhere.stop();
  });

  test('CleanupExpiredLocks clears what is over, counts it, and leaves the rest', async () => {
    const elsewhere = await startTestService({ REDIS_URL: sharedRedisUrl(topology) });
    const { locks } = elsewhere;
    await hold(locks, 'held');
    await Promise.all(['a', 'b', 'c'].map((name) => hold(locks, name, { ttlMs: 1n })));
    await hold(locks, 'shared', { permits: 1 });
    await hold(locks, 'shared', { ttlMs: 1n, permits: 1 });
    const { lockToken } = await hold(locks, 'released');
    await locks.releaseLock({ resources: ['released'], lockToken });
    await until(async () => (await locks.getLock({ resource: 'shared' })).holderCount === 1n);
    for (const resource of ['a', 'b', 'c']) {
      await until(async () => (await locks.getLock({ resource })).holderCount === 0n);
    }
    const done = { scannedCount: 6n, expiredHolders: 4n, expiredWaiters: 0n };
    expect(await locks.cleanupExpiredLocks({})).toEqual(done);
    expect(await locks.cleanupExpiredLocks({})).toEqual({ ...done, expiredHolders: 0n });
    expect(names(await listAll(locks, { prefix: '' }))).toEqual(['held', 'shared']);
    expect((await locks.getLockStats({})).lost).toBe(4n);
    await elsewhere.stop();
  });
});

test('a token is read as it was written, and nothing else is one', () => {
  const hex = fc.stringMatching(/^[0-9a-f]{16}$/);
  const place: fc.Arbitrary<ListPlace> = fc.record({
    scan: fc.record({
      done: fc.array(hex, { maxLength: 4 }),
      run: fc.oneof(hex, fc.constant('')),
      cursor: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(String),
    }),
    listed: fc.array(hex, { maxLength: 20 }),
  });
  fc.assert(
    fc.property(place, fc.string(), fc.nat(), fc.integer({ min: 1, max: 255 }), (written, prefix, at, flip) => {
      const scope: ListScope = { of: 'locks', namespace: 'n', prefix };
      const token = encodeListToken(scope, written);
      expect(decodeListToken(scope, token)).toEqual(written);
      expect(decodeListToken({ ...scope, of: 'bans' }, token)).toBeUndefined();
      expect(decodeListToken({ ...scope, namespace: 'm' }, token)).toBeUndefined();
      expect(decodeListToken({ ...scope, prefix: `${prefix}x` }, token)).toBeUndefined();
      const other = Buffer.from(token);
      other[at % other.length] = (other[at % other.length] ?? 0) ^ flip;
      // what is read after all is another place of the same form
      const read = decodeListToken(scope, other);
      if (read !== undefined) expect(encodeListToken(scope, read)).toEqual(other);
    }),
    { numRuns: 300, seed: 7 },
  );
});
