import { randomBytes } from 'node:crypto';
import type { Inventories } from '../database.js';
import type { Profile } from '../protocol.js';
import type { Identity } from './player.js';
import type { Random } from './random.js';

/** Who plays and what they own at the beginning. */
export interface World {
  readonly identities: readonly Identity[];
  readonly profiles: ReadonlyMap<string, Profile>;
  readonly passwords: ReadonlyMap<string, string>;
  readonly inventories: Inventories;
  /** Addresses and accounts for those who attack; no player's. */
  readonly attackerIp: (n: number) => string;
  readonly attackedUserId: (n: number) => string;
}

const NAMES = ['aria', 'bram', 'cleo', 'dorn', 'edda', 'finn', 'gwen', 'hugo', 'iris', 'joss'] as const;
const KINDS = ['sword', 'shield', 'potion', 'ring', 'scroll'] as const;
const ITEMS_EACH = 5;
/** Above all players, of which there are 500 at most. */
const FIRST_ATTACKER = 0xa000;

/**
 * Names and addresses are new in every run, whatever the seed: rate limits and bans outlive a run on a service that was
 * running before.
 */
export function createWorld(players: number, random: Random): World {
  const run = randomBytes(4).toString('hex');
  // a subject of rate limits is a /64, so everybody has one of their own; of 3fff::/20, which is for documents (RFC 9637)
  const address = (network: number): string => `3fff:${run.slice(0, 3)}:${run.slice(3, 7)}:${network.toString(16)}::1`;
  const identities = Array.from({ length: players }, (_, n) => ({
    userId: `${NAMES[n % NAMES.length] ?? 'player'}-${String(n + 1)}-${run}`,
    password: `pass-${random.below(1_000_000).toString(36)}`,
    ip: address(n + 1),
  }));
  return {
    identities,
    profiles: new Map(
      identities.map(({ userId }) => [
        userId,
        { userId, level: random.between(1, 60), motto: `by the ${random.pick(KINDS)}!` },
      ]),
    ),
    passwords: new Map(identities.map(({ userId, password }) => [userId, password])),
    // every item has a number, so that one that is lost or doubled can be named
    inventories: new Map(
      identities.map(({ userId }, n) => [
        userId,
        Array.from({ length: ITEMS_EACH }, (_, i) => `${random.pick(KINDS)}#${String(n * ITEMS_EACH + i + 1)}`),
      ]),
    ),
    attackerIp: (n) => address(FIRST_ATTACKER + n),
    attackedUserId: (n) => `account-${String(n + 1)}-${run}`,
  };
}
