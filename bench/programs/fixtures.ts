import { randomBytes } from 'node:crypto';
import type { Operation } from './load-loop.js';

/** What a load process works on. */
export interface Target {
  /** One for each connection. */
  readonly operations: readonly Operation[];
  /** Makes what so many operations will use up; for those that do. */
  readonly stock?: (count: number) => Promise<void>;
}

export const CACHE_TTL_MS = 3_600_000;
export const LOCK_TTL_MS = 5_000;
/** Sessions of one process. */
export const SESSION_COUNT = 1_000;
/** So many that few calls are over the limit at any rate that is reached. */
export const SUBJECT_COUNT = 10_000;
/** So many that locks seldom meet. */
export const RESOURCE_COUNT = 10_000;

/** Shares of a game server's calls. */
export const MIX = { validate: 0.6, get: 0.2, set: 0.1, limit: 0.05, lock: 0.05 } as const;

/** What a player's session holds, the same for both sides. */
export const PLAYER = {
  username: 'Ada of the Hill',
  roles: ['player', 'guild_officer'],
  permissions: ['chat', 'trade'],
  characterId: 'character-1815',
  metadata: { shard: 'eu-3', build: '2026.11.4' },
} as const;

export function cacheKey(index: number): string {
  return `player:${index}:profile`;
}

export function cacheKeys(count: number): readonly string[] {
  return Array.from({ length: count }, (_, index) => cacheKey(index));
}

/**
 * Watches the refusals of a side, which must stay few: one that refuses much would look fast for doing little, or for
 * being broken.
 */
export class Refusals {
  private granted = 0;
  private refused = 0;

  constructor(private readonly what: string) {}

  count(wasGranted: boolean): void {
    if (wasGranted) this.granted++;
    else this.refused++;
    if (this.refused > FEW_REFUSALS && this.refused > this.granted * MOST_REFUSED) {
      throw new Error(`${this.what}: ${this.refused} refusals beside ${this.granted} grants`);
    }
  }
}

const FEW_REFUSALS = 100;
const MOST_REFUSED = 0.05;

/** Bytes that do not compress. */
export function valueOf(bytes: number): Buffer {
  return randomBytes(bytes);
}

export function pick<Item>(items: readonly Item[]): Item {
  const item = items[Math.floor(Math.random() * items.length)];
  if (item === undefined) throw new Error('nothing to pick from');
  return item;
}

/** Runs a job for each item with so many in flight, so that no queue overflows. */
export async function forEachOf<Item>(items: readonly Item[], job: (item: Item) => Promise<unknown>): Promise<void> {
  const rest = items.values();
  const work = async (): Promise<void> => {
    for (const item of rest) await job(item);
  };
  await Promise.all(Array.from({ length: 100 }, work));
}

/** Takes one of the operations by the shares of MIX. */
export function mixed(operations: Readonly<Record<keyof typeof MIX, Operation>>): Operation {
  const { validate, get, set, limit, lock } = operations;
  const toGet = MIX.validate + MIX.get;
  const toSet = toGet + MIX.set;
  const toLimit = toSet + MIX.limit;
  return () => {
    const point = Math.random();
    if (point < MIX.validate) return validate();
    if (point < toGet) return get();
    if (point < toSet) return set();
    return point < toLimit ? limit() : lock();
  };
}
