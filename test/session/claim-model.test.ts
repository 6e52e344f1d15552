import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  ClaimCharacterStatus as Status,
  type CharacterClaimPolicy,
  type Session,
} from '../../src/gen/shardkeep/session/v1/session.js';
import { keys, partitionOfUser } from '../../src/redis/keys.js';
import { rawRedis, type RawRedis } from '../support/raw-redis.js';
import { until } from '../support/redis-server.js';
import { randomNamespace, sharedRedisUrl, startTestService, type TestService } from '../support/service.js';
import {
  claim,
  claimIn,
  expire,
  login,
  POLICIES_FILE,
  REJECT,
  TAKEOVER,
  TAKEOVER_AFTER_DRAIN,
} from './claim-support.js';

/** Claims against a model in memory, and what is left of them in Redis. */

let service: TestService;
let raw: RawRedis;
beforeAll(async () => {
  raw = await rawRedis('standalone');
  service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone'), POLICIES_FILE });
});
afterAll(async () => {
  await service.stop();
  await raw.close();
});

const LONG_MS = 600_000n;
const CHARACTERS = ['hero', 'mage'];

interface Player {
  readonly session: Session;
  live: boolean;
}

/** What is true of a character. */
interface Played {
  epochs: bigint[];
  holder?: Player | undefined;
  next?: Player | undefined;
  /** The time to drain is over. */
  over: boolean;
}

class World {
  readonly players: Player[] = [];
  readonly characters = new Map(CHARACTERS.map((name): [string, Played] => [name, { epochs: [], over: false }]));

  constructor(readonly userId: string) {}

  played(name: string): Played {
    const found = this.characters.get(name);
    if (found === undefined) throw new Error('no such character');
    return found;
  }

  playerOf({ holder, over }: Played): Player | undefined {
    return holder?.live === true && !over ? holder : undefined;
  }

  waiterOf({ next, over }: Played): Player | undefined {
    return next?.live === true && !over ? next : undefined;
  }

  end(player: Player): void {
    player.live = false;
    for (const character of this.characters.values()) {
      if (character.next === player && !character.over) character.next = undefined;
    }
  }

  /** What a claim is to be answered. */
  claim(
    name: string,
    by: Player,
    policy: CharacterClaimPolicy,
  ): { status: Status | 'gone'; inTheWay?: Player; takenFrom?: Player; mayBeForgotten?: boolean } {
    const character = this.played(name);
    if (!by.live) return { status: 'gone' };
    const [player, waiter] = [this.playerOf(character), this.waiterOf(character)];
    const otherWaits = waiter !== undefined && waiter !== by;
    if (player === by) return { status: Status.CLAIMED };
    if (policy !== TAKEOVER && (player !== undefined || otherWaits)) {
      const inTheWay = player ?? waiter;
      if (inTheWay === undefined) throw new Error('nobody is in the way');
      if (player === undefined || policy === REJECT || otherWaits) return { status: Status.HELD, inTheWay };
      character.next = by;
      return { status: Status.DRAINING, inTheWay };
    }
    const takenFrom = character.holder?.live === true && character.holder !== by ? character.holder : undefined;
    // who was to give it up is forgotten when somebody notices that the next one has ended too
    const mayBeForgotten = character.over && character.next?.live === false;
    Object.assign(character, { holder: by, next: undefined, over: false });
    return { status: Status.CLAIMED, mayBeForgotten, ...(takenFrom === undefined ? {} : { takenFrom }) };
  }
}

type Step = (world: World) => Promise<void>;

const who = fc.nat({ max: 3 });
const what = fc.constantFrom(...CHARACTERS);

function playerAt(world: World, index: number): Player | undefined {
  return world.players[world.players.length - 1 - index];
}

async function enter(world: World): Promise<void> {
  world.players.push({ session: await login(service, world.userId), live: true });
}

const steps = fc.oneof(
  {
    weight: 6,
    arbitrary: fc
      .tuple(what, who, fc.constantFrom(REJECT, TAKEOVER, TAKEOVER_AFTER_DRAIN), fc.constantFrom(1n, LONG_MS))
      .map(([characterId, index, policy, drainMs]): Step => async (world) => {
        const player = playerAt(world, index);
        if (player === undefined) return;
        const wish = policy === TAKEOVER_AFTER_DRAIN ? { policy, drainMs } : { policy };
        const wasNext = world.waiterOf(world.played(characterId)) === player;
        const expected = world.claim(characterId, player, policy);
        const asked = claim(service, player.session, { characterId, ...wish });
        if (expected.status === 'gone') {
          await expect(asked).rejects.toThrow();
          return;
        }
        const answer = await asked;
        const holder = expected.inTheWay ?? player;
        expect({ ...answer, claim: answer.claim?.sessionId, retryAfterMs: 0n }).toEqual({
          status: expected.status,
          claim: holder.session.sessionId,
          retryAfterMs: 0n,
          takenFromSessionId:
            expected.mayBeForgotten === true
              ? answer.takenFromSessionId
              : (expected.takenFrom?.session.sessionId ?? ''),
        });
        const { epoch, drainingUntilMs } = claimIn(answer);
        const { epochs } = world.played(characterId);
        if (answer.status === Status.CLAIMED) {
          expect(epoch).toBeGreaterThan(epochs.at(-1) ?? 0n);
          epochs.push(epoch);
        }
        if (answer.status === Status.DRAINING && !wasNext && drainMs === 1n) {
          await until(() => BigInt(Date.now()) >= drainingUntilMs);
          world.played(characterId).over = true;
        }
      }),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(what, fc.nat({ max: 1 })).map(([characterId, back]): Step => async (world) => {
      const character = world.played(characterId);
      const epoch = character.epochs.at(-1 - back);
      if (epoch === undefined) return;
      const released = back === 0 && world.playerOf(character) !== undefined;
      expect(await service.sessions.releaseCharacter({ userId: world.userId, characterId, epoch })).toEqual({
        released,
      });
      if (released) character.holder = undefined;
    }),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(who, fc.constantFrom('destroyed', 'unnoticed')).map(([index, how]): Step => async (world) => {
      const player = playerAt(world, index);
      if (player === undefined) return;
      // one that ran out is now noticed
      if (how === 'destroyed') await service.sessions.destroySession({ sessionId: player.session.sessionId });
      else if (player.live) await expire(raw, service.namespace, player.session);
      if (player.live) world.end(player);
      await enter(world);
    }),
  },
  {
    weight: 1,
    arbitrary: what.map((characterId): Step => async (world) => {
      const { userId } = world;
      await raw.command('DEL', keys.character(service.namespace, partitionOfUser(userId), userId, characterId));
      Object.assign(world.played(characterId), { holder: undefined, next: undefined, over: false });
    }),
  },
);

async function compare(world: World): Promise<void> {
  const { userId } = world;
  for (const [characterId, character] of world.characters) {
    const player = world.playerOf(character);
    const current = character.epochs.at(-1);
    const [{ claim: found }, ...checks] = await Promise.all([
      service.sessions.getCharacterClaim({ userId, characterId }),
      ...character.epochs
        .slice(-3)
        .map((epoch) => service.sessions.checkCharacterClaim({ userId, characterId, epoch })),
    ]);
    const draining = player !== undefined && world.waiterOf(character) !== undefined;
    expect(found && { ...found, claimedAtMs: 0n, drainingUntilMs: found.drainingUntilMs > 0n }).toEqual(
      player && {
        ...{ sessionId: player.session.sessionId, owner: '', epoch: current, claimedAtMs: 0n },
        drainingUntilMs: draining,
      },
    );
    const recent = character.epochs.slice(-3);
    expect(checks.map(({ valid, drainingUntilMs }) => [valid, drainingUntilMs > 0n])).toEqual(
      recent.map((epoch) => [player !== undefined && epoch === current, draining && epoch === current]),
    );
  }
}

const keysOf = async (pattern: string): Promise<string[]> =>
  ((await raw.command('KEYS', `${service.namespace}:${pattern}`)) as Buffer[]).map(String);

test('claims, releases, drains and ends in any order do what the model says, and leave nothing for ever', async () => {
  const users: string[] = [];
  await fc.assert(
    fc.asyncProperty(fc.array(steps, { minLength: 20, maxLength: 40, size: 'max' }), async (run) => {
      const world = new World(randomNamespace());
      users.push(world.userId);
      for (let index = 0; index < 3; index++) await enter(world);
      for (const step of run) {
        await step(world);
        await compare(world);
      }
    }),
    { numRuns: 15, endOnFailure: true },
  );

  const lasting = /^[^:]+:(?:meta|user:\{\w+\}:.*|sessions:\{\w+\}:(?:deadlines|counters))$/;
  for (const key of await keysOf('*')) {
    if (!lasting.test(key)) expect([key, Number(await raw.command('PTTL', key)) > 0]).toEqual([key, true]);
  }
  // once all sessions have ended, of every claim only the epoch is left, for a day
  await Promise.all(users.map((userId) => service.sessions.destroyUserSessions({ userId })));
  const NOBODY = /^[^]{21}\0\0\0\0$/;
  const left = await keysOf('character:*');
  expect(left.length).toBeGreaterThan(users.length / 2);
  for (const key of left) {
    expect(((await raw.command('GET', key)) as Buffer).toString('latin1')).toMatch(NOBODY);
    expect(Number(await raw.command('PTTL', key))).toBeLessThanOrEqual(86_400_000);
  }
});
