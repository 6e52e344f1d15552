import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createClient } from 'redis';
import type { RedisServer } from '../../support/redis-server.js';
import { SeededRandom } from '../../support/seeded-random.js';
import { sharedRedisUrl, startTestService, type TestService } from '../../support/service.js';
import { startMasters } from '../quorum/quorum-support.js';
import { connectPeer, KINDS, type Peer } from './peers.js';
import { asOurselves, BARE_LOCKS } from '../../support/redis-user.js';

/** Clients of all three kinds fight for one lock; what they do under it is read, modify, write. */

const SECTIONS = 300;
const CLIENTS_A_KIND = 2;
const LONG_MS = 30_000;
const COUNTER = 'counter';

let servers: readonly RedisServer[];

beforeAll(async () => {
  servers = await startMasters(3, BARE_LOCKS);
});
afterAll(async () => {
  await Promise.all(servers.map((server) => server.remove()));
});

function startCompatible(masters: readonly RedisServer[], prefix = ''): Promise<TestService> {
  return startTestService({
    REDIS_URL: sharedRedisUrl('standalone'),
    LOCK_REDIS_URLS: masters.map(({ url }) => url).join(','),
    LOCK_COMPATIBLE: 'redlock',
    LOCK_COMPATIBLE_PREFIX: prefix,
    LOCK_QUORUM_NODE_TIMEOUT_MS: '1000',
  });
}

interface Race {
  /** What the counter says in the end. */
  readonly counted: number;
  /** The most clients that were inside at a time. */
  readonly mostInside: number;
  /** How many sections each kind got. */
  readonly sections: readonly number[];
}

async function race(masters: readonly RedisServer[], service: TestService, resource: string): Promise<Race> {
  const kinds = KINDS.flatMap((kind) => Array.from({ length: CLIENTS_A_KIND }, () => kind));
  const peers = await Promise.all(kinds.map((kind) => connectPeer(kind, masters, service)));
  const counter = createClient({ url: asOurselves(masters[0]?.url ?? '') });
  await counter.connect();
  await counter.set(COUNTER, '0');
  const sections = KINDS.map(() => 0);
  let inside = 0;
  let mostInside = 0;

  const work = async (peer: Peer, index: number): Promise<void> => {
    const random = new SeededRandom(index + 1);
    for (let done = 0; done < SECTIONS / kinds.length;) {
      const lock = await peer.lock([resource], LONG_MS);
      if (lock === undefined) {
        // as a client of redlock does, which is told by nobody when the lock is free
        await sleep(random.next() * 20);
        continue;
      }
      inside++;
      mostInside = Math.max(mostInside, inside);
      const value = Number(await counter.get(COUNTER));
      await counter.set(COUNTER, String(value + 1));
      inside--;
      done++;
      const kind = Math.floor(index / CLIENTS_A_KIND);
      sections[kind] = (sections[kind] ?? 0) + 1;
      await lock.release();
    }
  };
  try {
    await Promise.all(peers.map(work));
    return { counted: Number(await counter.get(COUNTER)), mostInside, sections };
  } finally {
    counter.destroy();
    for (const peer of peers) peer.close();
  }
}

describe.each([1, 3])('on %s masters', (masterCount) => {
  test('nobody is inside with another, and no update is lost', async () => {
    const masters = servers.slice(0, masterCount);
    const service = await startCompatible(masters);
    try {
      expect(await race(masters, service, 'race:one')).toEqual({
        counted: SECTIONS,
        mostInside: 1,
        sections: KINDS.map(() => SECTIONS / KINDS.length),
      });
    } finally {
      await service.stop();
    }
  });
});

test('the race finds out a service whose keys are others', async () => {
  const masters = servers.slice(0, 1);
  const service = await startCompatible(masters, 'elsewhere:');
  try {
    const { counted, mostInside } = await race(masters, service, 'race:two');
    expect(mostInside).toBeGreaterThan(1);
    expect(counted).toBeLessThan(SECTIONS);
  } finally {
    await service.stop();
  }
});
