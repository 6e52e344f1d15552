import type { Player } from './player.js';
import type { ShardProcess } from './shard-process.js';

/** The short scenes between shard and player: each does something and answers what came of it, judging nothing. */

const BAN_MS = 60_000;
const FLOOD_MESSAGES = 50;
const GUESSES = 12;
const TRIES_WITH_A_DEAD_TOKEN = 5;

/** Each login beyond the profile's limit ends an older session; the player goes on trying the older tokens. */
export async function enter(player: Player, times = 1): Promise<void> {
  for (let login = 0; login < times; login++) {
    const { status } = await player.login();
    if (status !== 'welcome') throw new Error(`${player.userId} could not log in: ${status}`);
  }
  for (const token of player.tokens.slice(0, -1)) await player.act({ kind: 'move' }, token);
}

/** Goes on trying afterwards, too. */
export async function leave(player: Player): Promise<void> {
  await player.act({ kind: 'logout' });
  await player.act({ kind: 'move' });
}

export interface BruteForce {
  readonly attempts: number;
  readonly denied: number;
}

/** Many addresses that guess at one account. */
export function guessPasswords(
  shards: readonly ShardProcess[],
  victimId: string,
  ipOf: (n: number) => string,
): Promise<BruteForce> {
  return bruteForce(shards, (n) => ({ userId: victimId, ip: ipOf(n) }));
}

/** One address that tries many accounts. */
export function stuffCredentials(
  shards: readonly ShardProcess[],
  ip: string,
  userIdOf: (n: number) => string,
): Promise<BruteForce> {
  return bruteForce(shards, (n) => ({ userId: userIdOf(n), ip }));
}

/** All at once, half of them through each shard: a limit that is read and then written would let more through. */
async function bruteForce(
  shards: readonly ShardProcess[],
  targetOf: (n: number) => { userId: string; ip: string },
): Promise<BruteForce> {
  const attempts = Array.from({ length: GUESSES }, (_, n) => {
    const shard = shards[n % shards.length];
    if (shard === undefined) throw new Error('no shard');
    return shard.peer.ask('login', { ...targetOf(n), password: `guess-${String(n)}` });
  });
  const replies = await Promise.all(attempts);
  return { attempts: replies.length, denied: replies.filter(({ status }) => status === 'too_many_attempts').length };
}

export interface Flood {
  readonly userId: string;
  readonly sent: number;
  readonly delivered: number;
}

/** One session on all shards at once: the limit is the player's, not the connection's. */
export async function floodChat(player: Player, shards: readonly ShardProcess[]): Promise<Flood> {
  const sessionToken = player.session?.sessionToken ?? '';
  const messages = Array.from({ length: FLOOD_MESSAGES }, (_, n) => {
    const shard = shards[n % shards.length];
    if (shard === undefined) throw new Error('no shard');
    return shard.peer.ask('act', { sessionToken, action: { kind: 'chat', text: `BUY GOLD ${String(n)}` } });
  });
  const replies = await Promise.all(messages);
  const delivered = replies.filter(({ status }) => status === 'done').length;
  return { userId: player.userId, sent: replies.length, delivered };
}

/** Logs out in the middle of other actions, tries the dead token on every shard, and comes back by a new login. */
export async function logoutAndReturn(player: Player, shards: readonly ShardProcess[]): Promise<void> {
  const dead = player.session?.sessionToken ?? '';
  // what is under way at the same moment may pass or not, but must not bring the session back
  await Promise.all([player.act({ kind: 'logout' }), ...movesWith(dead, shards)]);
  await Promise.all(movesWith(dead, shards));
  await enter(player);
}

/** Banned in the middle of play; goes on with the dead tokens and tries to log in again. Answers how that login ended. */
export async function banAndDefy(player: Player, shards: readonly ShardProcess[]): Promise<string> {
  const [gameMaster] = shards;
  if (gameMaster === undefined) throw new Error('no shard');
  await gameMaster.peer.ask('ban', {
    userId: player.userId,
    reason: 'sold items that do not exist',
    blockForMs: BAN_MS,
  });
  await Promise.all(player.tokens.flatMap((dead) => movesWith(dead, shards)));
  return (await player.login()).status;
}

function movesWith(sessionToken: string, shards: readonly ShardProcess[]): Promise<unknown>[] {
  return Array.from({ length: TRIES_WITH_A_DEAD_TOKEN }, () =>
    shards.map(({ peer }) => peer.ask('act', { sessionToken, action: { kind: 'move' } })),
  ).flat();
}
