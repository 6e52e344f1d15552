import { parseArgs } from 'node:util';

export interface Options {
  readonly players: number;
  readonly seconds: number;
  /** A running shardkeep; undefined: start the built one here, with an embedded Redis. */
  readonly address: string | undefined;
  readonly seed: number;
}

export const USAGE = `usage: npx tsx examples/tiny-shard/main.ts [options]
  --players n        simulated players, 10 to 500 (20)
  --seconds n        how long they play, 1 to 600 (8)
  --address h:p      a running shardkeep (otherwise dist/main.js is started, with its embedded Redis)
  --seed n           repeats the players' choices (random)
`;

/** Ten roles are cast by name: see scenes.ts. */
const FEWEST_PLAYERS = 10;
const MOST_PLAYERS = 500;
const LONGEST_SECONDS = 600;

/** Throws with one line for the user when an option is wrong. */
export function readOptions(argv: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      players: { type: 'string', default: '20' },
      seconds: { type: 'string', default: '8' },
      address: { type: 'string' },
      seed: { type: 'string', default: String(Math.floor(Math.random() * 1_000_000)) },
    },
  });
  return {
    players: wholeNumber('--players', values.players, FEWEST_PLAYERS, MOST_PLAYERS),
    seconds: wholeNumber('--seconds', values.seconds, 1, LONGEST_SECONDS),
    address: values.address,
    seed: wholeNumber('--seed', values.seed, 0, 4_294_967_295),
  };
}

function wholeNumber(name: string, text: string, low: number, high: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < low || value > high) {
    throw new Error(`${name} must be a whole number from ${String(low)} to ${String(high)}`);
  }
  return value;
}
