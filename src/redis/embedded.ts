import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { RedisTarget } from './connection.js';
import { unixSocketAnswers, unixSocketServes } from './unix-socket.js';

/** What an embedded Redis is for; decides persistence and eviction. */
export type EmbeddedRole = 'cache' | 'state';

export interface EmbeddedRedisOptions {
  readonly role: EmbeddedRole;
  /** The redis-server or valkey-server to run. */
  readonly binary: string;
  /** Keeps `state` in an append-only file there; without it all data goes with the process. */
  readonly dataDir?: string;
  readonly maxMemoryMb: number;
  readonly logger: Logger;
}

export interface EmbeddedRedis {
  readonly target: RedisTarget;
  /** Resolves when it serves for the first time, or was stopped; however long it cannot be run. */
  serving(): Promise<void>;
  stop(): Promise<void>;
}

// A socket's path may be 107 bytes long (unix(7)); a longer temp folder falls back to /tmp.
const LONGEST_TEMP_DIR = 70;
const RESTART_MIN_MS = 100;
const RESTART_MAX_MS = 5_000;
const SERVING_PAUSE_MIN_MS = 5;
const SERVING_PAUSE_MAX_MS = 200;
/** Loading the data takes so long that whoever waits should know. */
const LONG_START_MS = 1_000;

/**
 * Runs Redis ("$@") and outlives this process just long enough to end it: the shell holds our end of a pipe as its
 * standard input, and when that closes, by stop() or because we were killed, it ends Redis within 3 s and removes the
 * folder. It is detached, so that Ctrl-C reaches only the service, which drains first.
 */
const GUARDIAN = `
exec 3<&0
run_dir=$1
shift
"$@" </dev/null 3<&- &
redis=$!
(
  read -r _ <&3
  : >"$run_dir/stopping"
  kill -TERM "$redis"
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
    kill -0 "$redis" || break
    sleep 0.1
  done
  kill -KILL "$redis"
  rm -rf "$run_dir"
) 2>/dev/null &
watcher=$!
wait "$redis"
status=$?
if [ -e "$run_dir/stopping" ] || [ ! -d "$run_dir" ]; then wait "$watcher"; else kill "$watcher"; fi
exit "$status"
`;

const BINARY_NAMES = ['redis-server', 'valkey-server'];
const EXTRA_BINARY_DIRS = ['/usr/bin', '/usr/local/bin', '/opt/homebrew/bin', '/snap/bin'];

/** Finds a Redis to run: the one named, else the first on the PATH or in the usual places. */
export function findRedisBinary(named: string | undefined, path = process.env.PATH ?? ''): string | undefined {
  const candidates =
    named === undefined
      ? [...path.split(delimiter), ...EXTRA_BINARY_DIRS].flatMap((dir) => BINARY_NAMES.map((name) => join(dir, name)))
      : [named];
  return candidates.find((candidate) => {
    try {
      accessSync(candidate, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Starts a private Redis on a unix socket and restarts it, with back-off, when it dies. */
export function startEmbeddedRedis(options: EmbeddedRedisOptions): EmbeddedRedis {
  const { role, logger } = options;
  const tempRoot = tmpdir().length > LONGEST_TEMP_DIR ? '/tmp' : tmpdir();
  const runDir = mkdtempSync(join(tempRoot, `shardkeep-${role}-`));
  const socketPath = join(runDir, 'redis.sock');
  const logFile = join(runDir, 'redis.log');
  const dataDir = role === 'state' && options.dataDir !== undefined ? join(options.dataDir, role) : undefined;
  if (dataDir !== undefined) mkdirSync(dataDir, { recursive: true });
  const command = [options.binary, ...redisFlags(options, { dataDir, runDir, socketPath, logFile })];

  let child: ChildProcess | undefined;
  let stopping = false;
  let restartMs = RESTART_MIN_MS;

  const restartLater = (): void => {
    setTimeout(() => {
      if (!stopping) start();
    }, restartMs).unref();
    restartMs = Math.min(restartMs * 2, RESTART_MAX_MS);
  };
  const run = (): void => {
    const startedAt = performance.now();
    child = spawn('/bin/sh', ['-c', GUARDIAN, 'shardkeep-guardian', runDir, ...command], {
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    child.stdin?.on('error', () => undefined);
    child.on('error', (error) => {
      logger.error({ role, err: error }, 'embedded redis cannot be run, trying again');
      restartLater();
    });
    child.on('exit', (status) => {
      if (stopping) return;
      if (performance.now() - startedAt > RESTART_MAX_MS) restartMs = RESTART_MIN_MS;
      logger.error({ role, status, restartMs, log: lastLines(logFile) }, 'embedded redis died, restarting');
      restartLater();
    });
  };
  const start = (): void => {
    if (dataDir === undefined) {
      run();
      return;
    }
    void claimFolder(dataDir, socketPath).then((claimed) => {
      if (stopping) return;
      if (claimed) {
        run();
      } else {
        logger.error({ role, dataDir }, 'data folder is in use by another redis, trying again');
        restartLater();
      }
    });
  };
  start();

  return {
    target: { topology: 'standalone', socketPath, database: 0, tls: false },
    serving: async () => {
      const startedAt = performance.now();
      let told = false;
      let pauseMs = SERVING_PAUSE_MIN_MS;
      while (!stopping && !(await unixSocketServes(socketPath))) {
        if (!told && performance.now() - startedAt >= LONG_START_MS) {
          logger.info({ role, dataDir }, 'embedded redis is not up yet');
          told = true;
        }
        await sleep(pauseMs, undefined, { ref: false });
        pauseMs = Math.min(pauseMs * 2, SERVING_PAUSE_MAX_MS);
      }
    },
    stop: async () => {
      stopping = true;
      if (child?.exitCode === null && child.signalCode === null) {
        const exited = once(child, 'exit');
        child.stdin?.end();
        await exited;
      }
      rmSync(runDir, { recursive: true, force: true });
    },
  };
}

const CLAIM_TRIES = 50;
const CLAIM_PAUSE_MS = 100;

/**
 * Makes this Redis the owner of a data folder, by the socket it will listen on: two servers on one append-only file
 * would ruin it, and that of a killed service answers for up to 3 s more. False when another goes on answering.
 */
async function claimFolder(dataDir: string, socketPath: string): Promise<boolean> {
  const ownerFile = join(dataDir, 'owner');
  for (let tries = 0; tries < CLAIM_TRIES; tries++) {
    const owner = existsSync(ownerFile) ? readFileSync(ownerFile, 'utf8') : '';
    if (owner === '' || owner === socketPath || !(await unixSocketAnswers(owner))) {
      writeFileSync(ownerFile, socketPath);
      return true;
    }
    await sleep(CLAIM_PAUSE_MS);
  }
  return false;
}

function redisFlags(
  { role, maxMemoryMb }: EmbeddedRedisOptions,
  paths: { dataDir: string | undefined; runDir: string; socketPath: string; logFile: string },
): string[] {
  return Object.entries({
    port: '0',
    unixsocket: paths.socketPath,
    unixsocketperm: '700',
    dir: paths.dataDir ?? paths.runDir,
    logfile: paths.logFile,
    loglevel: 'warning',
    save: '',
    appendonly: paths.dataDir === undefined ? 'no' : 'yes',
    appendfsync: 'everysec',
    maxmemory: `${String(maxMemoryMb)}mb`,
    'maxmemory-policy': role === 'cache' ? 'allkeys-lru' : 'noeviction',
  }).flatMap(([name, value]) => [`--${name}`, value]);
}

function lastLines(file: string): string[] {
  return existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n').slice(-3) : [];
}
