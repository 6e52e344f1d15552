import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { AcquireLockStatus, LockOwnershipStatus } from '../../../src/gen/shardkeep/lock/v1/lock.js';
import { until, type RedisServer } from '../../support/redis-server.js';
import { sharedRedisUrl, startTestService, type TestService } from '../../support/service.js';
import { startMasters } from '../quorum/quorum-support.js';
import { BARE_LOCKS } from '../../support/redis-user.js';
import { connectPeer, KINDS, type Kind, type Peer, type PeerLock } from './peers.js';

/** redlock 4.2.0, redlock 5.0.0-beta.2 and LockService take the same locks, and each of them respects the others. */

const LONG_MS = 30_000;
const SHORT_MS = 300;
/** Long enough to extend it before, also on a busy machine. */
const FIRST_MS = 800;
const PAIRS = KINDS.flatMap((holder) =>
  KINDS.filter((other) => other !== holder).map((other) => [holder, other] as const),
);

describe.each([1, 3])('on %s masters', (masterCount) => {
  let servers: readonly RedisServer[];
  let service: TestService;
  const peers = new Map<Kind, Peer>();
  let names = 0;

  beforeAll(async () => {
    servers = await startMasters(masterCount, BARE_LOCKS);
    service = await startTestService({
      REDIS_URL: sharedRedisUrl('standalone'),
      LOCK_REDIS_URLS: servers.map(({ url }) => url).join(','),
      LOCK_COMPATIBLE: 'redlock',
      // nothing here is about slow masters, and the machine may be busy
      LOCK_QUORUM_NODE_TIMEOUT_MS: '1000',
    });
    for (const kind of KINDS) peers.set(kind, await connectPeer(kind, servers, service));
  });
  afterAll(async () => {
    for (const peer of peers.values()) peer.close();
    await service.stop();
    await Promise.all(servers.map((server) => server.remove()));
  });

  function peer(kind: Kind): Peer {
    const found = peers.get(kind);
    if (found === undefined) throw new RangeError(kind);
    return found;
  }

  function newResource(): string {
    return `locks:account:${String(names++)}`;
  }

  async function take(kind: Kind, resources: readonly string[], ttlMs = LONG_MS): Promise<PeerLock> {
    const lock = await peer(kind).lock(resources, ttlMs);
    if (lock === undefined) throw new Error(`${kind} was refused a free lock`);
    return lock;
  }

  function valuesOf(resource: string): Promise<readonly unknown[]> {
    return Promise.all(servers.map((server) => server.command('GET', resource)));
  }

  /** Redis deletes an expired key when it is looked at. */
  async function untilFree(resource: string): Promise<void> {
    await until(async () => (await valuesOf(resource)).every((value) => value === null));
  }

  test.each(KINDS)('%s holds a bare text under the bare resource, until it ends', async (kind) => {
    const resource = newResource();
    const { value } = await take(kind, [resource]);
    await until(async () => (await valuesOf(resource)).every((stored) => stored === value));
    for (const server of servers) {
      const leftMs = Number(await server.command('PTTL', resource));
      expect(leftMs).toBeGreaterThan(0);
      expect(leftMs).toBeLessThanOrEqual(LONG_MS + 1);
    }
  });

  test.each(PAIRS)('what %s holds %s does not get before the release', async (holder, other) => {
    const resource = newResource();
    const held = await take(holder, [resource]);
    expect(await peer(other).lock([resource], LONG_MS)).toBeUndefined();
    // nor did the try harm it
    expect(await held.extend(LONG_MS)).toBe(true);
    expect(await held.release()).toBe(true);
    await untilFree(resource);
    await take(other, [resource]);
  });

  test.each(PAIRS)(
    'what %s held %s gets when the lease is over, and then the first is nobody',
    async (holder, other) => {
      const resource = newResource();
      const held = await take(holder, [resource], SHORT_MS);
      expect(await peer(other).lock([resource], LONG_MS)).toBeUndefined();
      await untilFree(resource);
      const next = await take(other, [resource]);
      expect(await held.extend(LONG_MS)).toBe(false);
      expect(await held.release()).toBe(false);
      expect(await valuesOf(resource)).toEqual(servers.map(() => next.value));
    },
  );

  test.each(PAIRS)('what %s extends %s does not get when the first lease is over', async (holder, other) => {
    const resource = newResource();
    const held = await take(holder, [resource], FIRST_MS);
    // a lease of its own that ends when the first one of the other would
    const clock = newResource();
    await take(holder, [clock], FIRST_MS);
    expect(await held.extend(LONG_MS)).toBe(true);
    await untilFree(clock);
    expect(await peer(other).lock([resource], LONG_MS)).toBeUndefined();
    expect(await valuesOf(resource)).toEqual(servers.map(() => held.value));
  });

  test.each(PAIRS)('of what %s holds in part %s gets nothing', async (holder, other) => {
    const [one, both, two] = [newResource(), newResource(), newResource()];
    const held = await take(holder, [one, both]);
    expect(await peer(other).lock([both, two], LONG_MS)).toBeUndefined();
    await untilFree(two);
    await held.release();
    await untilFree(both);
    const next = await take(other, [both, two]);
    expect(await peer(holder).lock([one, both], LONG_MS)).toBeUndefined();
    expect(await next.extend(LONG_MS)).toBe(true);
    expect(await next.release()).toBe(true);
  });

  test.each(['redlock 4', 'redlock 5'] as const)('who has the value of %s can go on as LockService', async (kind) => {
    const resource = newResource();
    const { value } = await take(kind, [resource]);
    const held = { resources: [resource], lockToken: value };
    expect(await service.locks.extendLock(held)).toMatchObject({ status: LockOwnershipStatus.DONE });
    expect(await service.locks.releaseLock(held)).toMatchObject({ status: LockOwnershipStatus.DONE });
    await untilFree(resource);
  });

  test.each(['redlock 4', 'redlock 5'] as const)('LockService waits for %s', async (kind) => {
    for (const ttlMs of [SHORT_MS, LONG_MS]) {
      const resource = newResource();
      const held = await take(kind, [resource], ttlMs);
      const waiting = service.locks.acquireLock(
        { resources: [resource], waitMs: 10_000n },
        { deadline: Date.now() + 12_000 },
      );
      if (ttlMs === LONG_MS) await held.release();
      expect((await waiting).status).toBe(AcquireLockStatus.GRANTED);
    }
  });

  test.each(['redlock 4', 'redlock 5'] as const)(
    'LockService tells that %s holds it, and how long yet',
    async (kind) => {
      const resource = newResource();
      await take(kind, [resource]);
      const unknown = { owner: '', fencingToken: 0n, acquiredAtMs: 0n, permits: 0 };
      const { holders, holderCount } = await service.locks.getLock({ resource });
      expect(holders).toMatchObject([unknown]);
      expect(holderCount).toBe(1n);
      expect(holders[0]?.ttlMs).toBeGreaterThan(0n);
      expect(holders[0]?.ttlMs).toBeLessThanOrEqual(BigInt(LONG_MS));
      const refused = await service.locks.acquireLock({ resources: [newResource(), resource] });
      expect(refused).toMatchObject({
        status: AcquireLockStatus.HELD,
        blockingResource: resource,
        holder: unknown,
      });
    },
  );
});

describe('with one of 3 masters', () => {
  const NODE_DEADLINE_MS = 250;
  let servers: readonly RedisServer[];
  let service: TestService;

  beforeAll(async () => {
    servers = await startMasters(3, BARE_LOCKS);
    service = await startTestService({
      REDIS_URL: sharedRedisUrl('standalone'),
      LOCK_REDIS_URLS: servers.map(({ url }) => url).join(','),
      LOCK_COMPATIBLE: 'redlock',
      LOCK_QUORUM_NODE_TIMEOUT_MS: String(NODE_DEADLINE_MS),
    });
  });
  afterAll(async () => {
    await service.stop();
    await Promise.all(servers.map((server) => server.remove()));
  });

  test.each(['stopped', 'killed'] as const)('%s, the others decide, and all three respect each other', async (how) => {
    const peers = await Promise.all(KINDS.map((kind) => connectPeer(kind, servers, service, NODE_DEADLINE_MS)));
    const [, , third] = servers;
    if (how === 'stopped') third?.signal('SIGSTOP');
    else await third?.stop('SIGKILL');
    try {
      for (const [index, holder] of peers.entries()) {
        const resources = [`${how}:${String(index)}`];
        const held = await holder.lock(resources, LONG_MS);
        expect(held).toBeDefined();
        for (const other of peers.filter((peer) => peer !== holder)) {
          expect(await other.lock(resources, LONG_MS)).toBeUndefined();
        }
        expect(await held?.extend(LONG_MS)).toBe(true);
        expect(await held?.release()).toBe(true);
      }
    } finally {
      for (const peer of peers) peer.close();
      if (how === 'stopped') third?.signal('SIGCONT');
      else await third?.restart();
    }
  });
});
