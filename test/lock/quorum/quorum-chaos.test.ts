import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { DomainError } from '../../../src/errors.js';
import { keys } from '../../../src/redis/keys.js';
import type { RedisServer } from '../../support/redis-server.js';
import { randomNamespace } from '../../support/service.js';
import { SeededRandom } from '../../support/seeded-random.js';
import type { QuorumSettings } from '../../../src/lock/quorum/quorum-locks.js';
import {
  admitNow,
  callOf,
  requestFor,
  startCoordinator,
  startMasters,
  TEST_MAX_TTL_MS,
  type Coordinator,
  type ScriptMutation,
} from './quorum-support.js';
import { violationsOf, type GrantedToken } from './token-history.js';

/**
 * The order of fencing tokens on three real masters: under random stops and restarts without persistence, and against
 * adversaries who know where a rule would be missed. Each mutant of a rule is found out by the same history of grants.
 */

const RESOURCE = 'trade:ada';
/** Long enough for what an adversary does meanwhile on a busy machine. */
const SLOW = { nodeTimeoutMs: 400 };
/** So far ahead that no time of this test is. */
const AHEAD_MS = 20_000;

let servers: readonly RedisServer[];
let open: Coordinator[] = [];

beforeAll(async () => {
  servers = await startMasters(3);
});
afterEach(async () => {
  await Promise.all(open.map((coordinator) => coordinator.close()));
  open = [];
});
afterAll(async () => {
  await Promise.all(servers.map((server) => server.remove()));
});

/** Masters that are away may fail what is asked of them; anything else fails the test. */
function passOutage(error: unknown): void {
  // an error of the system is of the realm outside jest's, and no Error here
  if (error instanceof Error && !(error instanceof DomainError)) throw error;
}

class Play {
  readonly namespace = randomNamespace();
  readonly history: GrantedToken[] = [];

  constructor(private readonly mutations: readonly ScriptMutation[]) {}

  async coordinator(settings: Partial<QuorumSettings> = {}): Promise<Coordinator> {
    const { namespace, mutations } = this;
    const coordinator = await startCoordinator(servers, { namespace, mutations, ...settings });
    open.push(coordinator);
    return coordinator;
  }

  /** Notes a grant; answers its lock token, and undefined where there is none. */
  async acquire({ locks }: Coordinator, ttlMs = TEST_MAX_TTL_MS): Promise<string | undefined> {
    const sentAt = performance.now();
    try {
      const outcome = await locks.acquireLock(requestFor(RESOURCE, { ttlMs }), callOf(this.namespace));
      if (outcome.status !== 'granted') return undefined;
      const fencingToken = outcome.grants[0]?.fencingToken ?? 0;
      this.history.push({ fencingToken, lockToken: outcome.lockToken, sentAt, returnedAt: performance.now() });
      return outcome.lockToken;
    } catch (error) {
      passOutage(error);
      return undefined;
    }
  }

  /** One acquire on those masters alone, and its release on the same. */
  async acquireOn(coordinator: Coordinator, reachable: readonly number[]): Promise<void> {
    coordinator.voters.forEach((voter, index) => {
      voter.isReachable = reachable.includes(index);
    });
    const lockToken = await this.acquire(coordinator);
    if (lockToken === undefined) return;
    await coordinator.locks.releaseLock([RESOURCE], lockToken, callOf(this.namespace)).catch(passOutage);
  }

  get key(): string {
    return keys.lock(this.namespace, RESOURCE);
  }

  /** Violations of what was granted, all in one. */
  get violations(): number {
    const { duplicates, backwards } = violationsOf(this.history);
    return duplicates + backwards;
  }
}

const GRANT_BY_COUNTING = {
  script: 'grant-vote',
  from: 'decimal(math.max(fence + 1, proposal))',
  to: 'decimal(fence + 1)',
};
const RAISE_NOTHING = {
  script: 'raise-fence',
  from: "if not is_admitted(marker) then return {'AMNESIA'} end",
  to: "if is_admitted(marker) then return {'RAISED'} end",
};
const RAISE_FOR_ANYBODY = {
  script: 'raise-fence',
  from: "if stored[2] ~= lock_token or tonumber(stored[3]) <= now_ms then return {'NOT_HOLDER'} end",
  to: '',
};

/** Three acquires, each with another master out of reach. */
async function onePartitionAfterTheOther(play: Play): Promise<void> {
  await admitNow(servers, play.namespace);
  const coordinator = await play.coordinator(SLOW);
  for (const reachable of [
    [0, 1],
    [0, 1],
    [1, 2],
    [1, 2],
    [0, 2],
  ])
    await play.acquireOn(coordinator, reachable);
}

/** The raise of one that has lost its vote meanwhile arrives after another was granted with the same token. */
async function lateRaise(play: Play): Promise<void> {
  await admitNow(servers, play.namespace);
  const settings = { ...SLOW, maxSkewMs: 2 * AHEAD_MS };
  const [late, other] = await Promise.all([play.coordinator(settings), play.coordinator(settings)]);
  const [first, second, third] = servers;
  // the first and the third master are ahead
  const ahead = String((Date.now() + AHEAD_MS) * 1_000);
  for (const server of [first, third]) await server?.command('HSET', play.key, 'fence', ahead);

  let letGo: () => void = () => undefined;
  const reached = new Promise<void>((resolve) => {
    const held = new Promise<void>((go) => {
      letGo = go;
    });
    late.voters[1]?.holds.set('raise-fence', {
      then: (...listeners: Parameters<Promise<void>['then']>) => {
        resolve();
        return held.then(...listeners);
      },
    } as Promise<void>);
  });
  late.voters.forEach((voter, index) => {
    voter.isReachable = index !== 2;
  });
  other.voters.forEach((voter, index) => {
    voter.isReachable = index !== 0;
  });
  const lateOne = play.acquire(late);
  await Promise.race([reached, lateOne]);
  await second?.command('HDEL', play.key, 'vote', 'vote_until', 'vote_since', 'vote_owner', 'vote_rounds');
  await play.acquire(other);
  letGo();
  await lateOne;
}

/** A master forgets all, is kept out for as long as it should be, and then votes with one that has not been asked. */
async function restartedMaster(play: Play): Promise<void> {
  await admitNow(servers, play.namespace);
  const coordinator = await play.coordinator(SLOW);
  for (let round = 0; round < 3; round++) await play.acquireOn(coordinator, [0, 1]);
  await servers[0]?.stop('SIGKILL');
  await servers[0]?.restart();
  await play.coordinator(SLOW);
  await play.acquireOn(coordinator, [0, 2]);
}

const ADVERSARIES: readonly [string, (play: Play) => Promise<void>, readonly ScriptMutation[]][] = [
  ['the token is the highest count of a majority', onePartitionAfterTheOther, [GRANT_BY_COUNTING, RAISE_NOTHING]],
  ['a fence is raised whoever has the vote', lateRaise, [RAISE_FOR_ANYBODY]],
  ['a master that forgot is only kept out', restartedMaster, [GRANT_BY_COUNTING]],
];

describe.each(ADVERSARIES)('where %s', (_, adversary, mutations) => {
  test('tokens do not grow', async () => {
    const play = new Play(mutations);
    await adversary(play);
    expect(play.violations).toBeGreaterThan(0);
  });

  test('and where it is not so, they do, against the same adversary', async () => {
    const play = new Play([]);
    await adversary(play);
    expect(play.history.length).toBeGreaterThan(0);
    expect(violationsOf(play.history)).toEqual({ duplicates: 0, backwards: 0 });
  });
});

const CHAOS_MS = 12_000;
const WORKERS = 6;
const SEED = 20_261_121;

/** Stops masters for a while, and kills one now and then; those never keep anything. */
async function chaos(random: SeededRandom, isOver: () => boolean): Promise<void> {
  let restartAt = performance.now() + 1_000;
  while (!isOver()) {
    const server = random.pick(servers);
    if (performance.now() >= restartAt) {
      restartAt = performance.now() + 2_000;
      await server.stop('SIGKILL');
      await server.restart();
    } else {
      server.signal('SIGSTOP');
      await sleep(random.between(80, 330));
      server.signal('SIGCONT');
    }
    await sleep(random.between(20, 150));
  }
}

async function work(play: Play, coordinator: Coordinator, random: SeededRandom, isOver: () => boolean): Promise<void> {
  while (!isOver()) {
    const lockToken = await play.acquire(coordinator, random.between(60, TEST_MAX_TTL_MS));
    await sleep(random.between(0, 4));
    if (lockToken === undefined || random.chance(0.04)) continue;
    await coordinator.locks.releaseLock([RESOURCE], lockToken, callOf(play.namespace)).catch(passOutage);
  }
}

/** Lets it all run until the time is over, or the first violation where one is enough. */
async function runChaos(play: Play, { maxMs, untilFound }: { maxMs: number; untilFound: boolean }): Promise<void> {
  const coordinators = await Promise.all([play.coordinator(), play.coordinator(), play.coordinator()]);
  const endsAt = performance.now() + maxMs;
  const isOver = (): boolean => performance.now() >= endsAt || (untilFound && play.violations > 0);
  const workers = Array.from({ length: WORKERS }, (_, index) => {
    const coordinator = coordinators[index % coordinators.length];
    if (coordinator === undefined) throw new RangeError('no coordinator');
    return work(play, coordinator, new SeededRandom(SEED + 1 + index), isOver);
  });
  await Promise.all([chaos(new SeededRandom(SEED), isOver), ...workers]);
}

test('tokens grow for 12 s of stops and restarts, over three services', async () => {
  const play = new Play([]);
  await runChaos(play, { maxMs: CHAOS_MS, untilFound: false });
  expect(violationsOf(play.history)).toEqual({ duplicates: 0, backwards: 0 });
  // a run in which nobody gets the lock proves nothing
  expect(play.history.length).toBeGreaterThan(50);
});

test('the same chaos finds out that the token is the highest count of a majority', async () => {
  const play = new Play([GRANT_BY_COUNTING, RAISE_NOTHING]);
  await runChaos(play, { maxMs: 3 * CHAOS_MS, untilFound: true });
  expect(play.violations).toBeGreaterThan(0);
});
