import { setTimeout as delay } from 'node:timers/promises';
import type { Database } from '../database.js';
import { killWhileTrading, pauseBeyondLease, type Disaster } from './disasters.js';
import type { Player } from './player.js';
import * as scenes from './scenes.js';
import type { ShardProcess } from './shard-process.js';
import type { World } from './world.js';

export interface StoryOptions {
  readonly world: World;
  readonly database: Database;
  readonly players: readonly Player[];
  readonly steady: ShardProcess;
  /** Stopped once, and later killed. */
  readonly unlucky: ShardProcess;
  readonly seconds: number;
  readonly say: (line: string) => void;
}

/** What came of the scenes, for the checks. A scene that was not reached is missing. */
export interface StoryOutcome {
  /** Who logged in more often than the profile allows. */
  restless: readonly string[];
  bruteForces: readonly scenes.BruteForce[];
  floods: readonly scenes.Flood[];
  banned?: { readonly userId: string; readonly loginAfterwards: string };
  paused?: Disaster;
  killed?: Disaster;
  /** Why the evening ended early. */
  brokenOff?: string;
}

/** More than the profile allows, and fewer than the `auth` policy. */
const LOGINS_OF_THE_RESTLESS = 4;
/** A ban ends all sessions of a user. */
const LOGINS_OF_THE_CHEAT = 2;
/** When the disasters happen, as parts of the time: between them the game finds back to its pace. */
const PAUSE_AT = 0.2;
const KILL_AT = 0.5;

/** For whatever hangs: a check that is never reached must not pass for one that holds. */
const GRACE_MS = 60_000;

/** The whole evening. What goes wrong does not keep the checks from being made on what there is. */
export async function tell(options: StoryOptions): Promise<StoryOutcome> {
  const outcome: StoryOutcome = { restless: [], bruteForces: [], floods: [] };
  const evening = new AbortController();
  try {
    await Promise.race([playScenes(options, outcome, evening), timeLimit(options.seconds * 1_000 + GRACE_MS)]);
  } catch (error) {
    outcome.brokenOff = error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
  evening.abort();
  return outcome;
}

async function timeLimit(limitMs: number): Promise<never> {
  await delay(limitMs, undefined, { ref: false });
  throw new Error(`it did not come to its end in ${String(limitMs / 1_000)} s`);
}

/** In order; players play in the background from the second scene on, until `evening` is over. */
async function playScenes(
  { world, database, players, steady, unlucky, seconds, say }: StoryOptions,
  outcome: StoryOutcome,
  evening: AbortController,
): Promise<void> {
  const shards = [steady, unlucky];
  const [flooder1, flooder2, cheat, restless1, restless2, ...rest] = players;
  if (!flooder1 || !flooder2 || !cheat || !restless1 || !restless2) throw new Error('too few players');
  const restless = [restless1, restless2];
  outcome.restless = restless.map(({ userId }) => userId);
  const leaving = rest.slice(0, 3);

  const logins = (player: Player): number => {
    if (restless.includes(player)) return LOGINS_OF_THE_RESTLESS;
    return player === cheat ? LOGINS_OF_THE_CHEAT : 1;
  };
  await Promise.all(players.map((player) => scenes.enter(player, logins(player))));
  say(
    `${String(players.length)} players logged in, ${String(restless.length)} of them ${String(LOGINS_OF_THE_RESTLESS)} times`,
  );

  const userIds = players.map(({ userId }) => userId);
  const playing: Promise<void>[] = [];
  const play = (player: Player): void => {
    const others = userIds.filter((userId) => userId !== player.userId);
    const playsOn = player.play(others, evening.signal);
    playing.push(playsOn);
    // it is awaited at the end, which an evening that breaks off does not reach
    playsOn.catch(() => undefined);
  };
  const [timeToPause, timeToKill, timeToStop] = [PAUSE_AT, KILL_AT, 1].map((part) => delay(part * seconds * 1_000));
  // flooders begin to play after their flood, so that the account shows what the limit let through of it
  players.filter((player) => player !== flooder1 && player !== flooder2).forEach(play);

  outcome.bruteForces = await Promise.all([
    scenes.guessPasswords(shards, world.attackedUserId(0), world.attackerIp),
    scenes.stuffCredentials(shards, world.attackerIp(99), (n) => world.attackedUserId(n + 1)),
  ]);
  say(`passwords were guessed: ${outcome.bruteForces.map(describeBruteForce).join('; ')}`);

  outcome.floods = await Promise.all([flooder1, flooder2].map((player) => scenes.floodChat(player, shards)));
  [flooder1, flooder2].forEach(play);
  say(
    `chat was flooded: ${outcome.floods.map(({ sent, delivered }) => `${String(delivered)} of ${String(sent)} delivered`).join('; ')}`,
  );

  await Promise.all(leaving.map((player) => scenes.logoutAndReturn(player, shards)));
  leaving.forEach(play);
  say(`${String(leaving.length)} players logged out in the middle of their actions and came back`);

  const loginAfterwards = await scenes.banAndDefy(cheat, shards);
  say(`${cheat.userId} was banned and tried to log in again: ${loginAfterwards}`);
  outcome.banned = { userId: cheat.userId, loginAfterwards };

  // a disaster waits for trades, and would wait for ever if nobody played any more
  const deserted = async (): Promise<never> => {
    await Promise.all(playing);
    throw new Error('all players were thrown out of the game');
  };
  await timeToPause;
  const cast = { victim: unlucky, survivor: steady, players, database };
  outcome.paused = await Promise.race([pauseBeyondLease(cast), deserted()]);
  say(describeDisaster('stopped', outcome.paused));

  await timeToKill;
  outcome.killed = await Promise.race([killWhileTrading(cast), deserted()]);
  say(describeDisaster('killed', outcome.killed));

  await timeToStop;
  evening.abort();
  await Promise.all(playing);
  await Promise.all(players.filter((player) => player !== cheat).map(scenes.leave));
  say('everyone logged out');
}

function describeBruteForce({ attempts, denied }: scenes.BruteForce): string {
  return `${String(attempts - denied)} of ${String(attempts)} guesses got as far as the password`;
}

function describeDisaster(what: string, { shard, takenOverAfterMs, lateWrite }: Disaster): string {
  const late = lateWrite === 'stale' ? 'was refused' : 'WAS TAKEN';
  return `${shard} was ${what} between lock and write; its locks lapsed, another shard traded after ${takenOverAfterMs.toFixed(0)} ms, and its late write ${late}`;
}
