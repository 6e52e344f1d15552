import { Buffer } from 'node:buffer';
import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startRedis, type RedisServer } from './redis-server.js';

/**
 * A Redis whose clock is the test's: scripts decide by Redis's TIME, so what takes an hour is tried in a step. Made by a
 * library that is preloaded into redis-server (redis-clock.c), compiled by the machine's `cc`.
 */

const SOURCE = fileURLToPath(new URL('./redis-clock.c', import.meta.url));
const US_A_MS = 1_000;
/** Below it the file says an offset, above it a time of day. */
const STANDS_STILL_US = 2 ** 50;

/** Whether this machine can make the library. */
export function canCompile(): boolean {
  return process.platform === 'linux' && spawnSync('cc', ['--version'], { stdio: 'ignore' }).status === 0;
}

export interface ClockedRedis {
  readonly server: RedisServer;
  readonly clock: SteppedClock;
  /** Stops it and removes what belongs to it. */
  remove(): Promise<void>;
}

/** A clock, and what a process is started with that is to go by it. */
export interface MadeClock {
  readonly env: Readonly<Record<string, string>>;
  readonly clock: SteppedClock;
  remove(): void;
}

/** A clock that stands still, at first at the machine's time, until it is stepped. */
export function makeSteppedClock(): MadeClock {
  const folder = mkdtempSync(join(tmpdir(), 'shardkeep-test-clock-'));
  const library = join(folder, 'redis-clock.so');
  const compiled = spawnSync('cc', ['-shared', '-fPIC', '-O1', '-o', library, SOURCE], { encoding: 'utf8' });
  if (compiled.status !== 0) throw new Error(`the clock does not compile: ${compiled.stderr}`);
  const file = join(folder, 'clock');
  const clock = new SteppedClock(file);
  return {
    env: { LD_PRELOAD: library, CLOCK_FILE: file },
    clock,
    remove: () => {
      clock.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** A Redis of its own that goes by such a clock. */
export async function startClockedRedis(flags: readonly string[] = []): Promise<ClockedRedis> {
  const made = makeSteppedClock();
  const server = await startRedis(flags, { ...process.env, ...made.env });
  return {
    server,
    clock: made.clock,
    remove: async () => {
      await server.remove();
      made.remove();
    },
  };
}

/** The clock of a Redis: it stands still and is stepped, or goes on at an offset from the machine's. */
export class SteppedClock {
  private readonly file: number;
  private standsAtUs = 0;

  constructor(path: string) {
    this.file = openSync(path, 'w+');
    this.stopAt(Date.now());
  }

  /** Unix milliseconds at which the clock stands; the same in every script until it is stepped. */
  get nowMs(): number {
    return Math.floor(this.standsAtUs / US_A_MS);
  }

  /** Stops the clock at this time of day. */
  stopAt(timeMs: number): void {
    this.standsAtUs = timeMs * US_A_MS;
    if (this.standsAtUs < STANDS_STILL_US) throw new RangeError('the clock cannot stand still that long ago');
    this.write(this.standsAtUs);
  }

  /** Steps a clock that stands still; back with a number below 0. */
  step(ms: number): void {
    this.stopAt(this.nowMs + ms);
  }

  /** Lets the clock go on, so much ahead of the machine's. */
  runAt(offsetMs: number): void {
    this.write(offsetMs * US_A_MS);
  }

  close(): void {
    closeSync(this.file);
  }

  private write(setting: number): void {
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64LE(BigInt(setting));
    writeSync(this.file, bytes, 0, bytes.length, 0);
  }
}
