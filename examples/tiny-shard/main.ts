import { Database } from './database.js';
import { describeChecks, describeRun } from './stage/account.js';
import { judge } from './stage/checks.js';
import { EvidenceBook } from './stage/evidence.js';
import { readOptions, USAGE, type Options } from './stage/options.js';
import { Player } from './stage/player.js';
import { Random } from './stage/random.js';
import { MAX_SESSIONS_PER_USER, startBuilt, useRunning } from './stage/service-process.js';
import { ShardProcess } from './stage/shard-process.js';
import { tell } from './stage/story.js';
import { createWorld } from './stage/world.js';

/** A tiny game on shardkeep: two shards, many players, a shard that stalls and one that dies. README.md has the tour. */

const EXIT_CHECK_FAILED = 1;
const EXIT_BROKEN = 2;
const EXIT_USAGE = 64;
/** By shell convention 128 + SIGINT. */
const EXIT_INTERRUPTED = 130;
const startedMs = performance.now();

function say(line: string): void {
  console.log(`${((performance.now() - startedMs) / 1_000).toFixed(1).padStart(6)} s  ${line}`);
}

/** What must not outlive this process, however it ends. */
const cleanups: (() => void)[] = [];
process.on('exit', () => {
  for (const cleanUp of cleanups) cleanUp();
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(EXIT_INTERRUPTED));

/** Answers whether all checks hold. */
async function run({ players: count, seconds, address, seed }: Options): Promise<boolean> {
  console.log(`tiny-shard: ${String(count)} players, 2 shards, ${String(seconds)} s, seed ${String(seed)}`);
  const random = new Random(seed);
  const world = createWorld(count, random);
  const database = new Database(world.profiles, world.passwords, world.inventories);
  const evidence = new EvidenceBook();
  cleanups.push(() => {
    database.close();
  });

  const service = address === undefined ? await startBuilt() : useRunning(address);
  say(`shardkeep on ${service.address} ${service.origin}`);
  const [steady, unlucky] = ['shard-a', 'shard-b'].map((name) =>
    ShardProcess.start(name, service.address, { database, evidence }),
  );
  if (steady === undefined || unlucky === undefined) throw new Error('two shards');
  const shards = [steady, unlucky];
  for (const shard of shards) cleanups.push(shard.abandon);
  const players = world.identities.map(
    (identity, n) =>
      new Player(identity, random.fork(), n % 2 === 0 ? steady : unlucky, () => shards.filter(({ isUp }) => isUp)),
  );

  const story = await tell({ world, database, players, steady, unlucky, seconds, say });

  // a shard in trouble might never finish what it does
  if (story.brokenOff !== undefined) for (const shard of shards) shard.abandon();
  const shardExit = await steady.stop();
  const serviceExit = await service.stop();
  say('the shards and shardkeep are down');
  const checks = judge({
    evidence,
    initial: world.inventories,
    ledger: database.readLedger(),
    staleWrites: database.staleWrites,
    players,
    story,
    exits: { [steady.name]: shardExit, ...(serviceExit === undefined ? {} : { shardkeep: serviceExit }) },
    maxSessions: address === undefined ? MAX_SESSIONS_PER_USER : undefined,
  });
  console.log(`\nWhat happened\n${describeRun(evidence, database)}\n\nChecks\n${describeChecks(checks)}\n`);
  const failed = checks.filter(({ problems }) => problems.length > 0);
  console.log(failed.length === 0 ? 'all checks hold' : `FAILED: ${failed.map(({ name }) => name).join('; ')}`);
  return failed.length === 0;
}

function optionsOrExit(): Options {
  try {
    return readOptions(process.argv.slice(2));
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\n${USAGE}`);
    process.exit(EXIT_USAGE);
  }
}

function breakOff(error: unknown): never {
  console.error('the demonstration broke off:', error);
  process.exit(EXIT_BROKEN);
}

process.on('unhandledRejection', breakOff);
try {
  process.exitCode = (await run(optionsOrExit())) ? 0 : EXIT_CHECK_FAILED;
} catch (error) {
  breakOff(error);
}
