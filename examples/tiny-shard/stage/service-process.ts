import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export interface ServiceProcess {
  readonly address: string;
  /** Where it came from, for the account. */
  readonly origin: string;
  /** By SIGTERM; answers the exit code, or undefined for a service that is not ours to stop. */
  stop(): Promise<number | null | undefined>;
}

const BUILT_MAIN = fileURLToPath(new URL('../../../dist/main.js', import.meta.url));
const START_TIMEOUT_MS = 20_000;
/** Enough of the log to see why it did not start. */
const KEPT_LINES = 20;
/**
 * Two sessions a player, so that a demonstration of seconds sees evictions. A service given by --address keeps its own
 * limit.
 */
export const MAX_SESSIONS_PER_USER = 2;

export function useRunning(address: string): ServiceProcess {
  return { address, origin: 'was running before', stop: () => Promise.resolve(undefined) };
}

/** Starts the built service with embedded Redis on a free port and waits until Redis answers. */
export async function startBuilt(): Promise<ServiceProcess> {
  if (!existsSync(BUILT_MAIN)) throw new Error(`${BUILT_MAIN} is not there: run make build first, or give --address`);
  const child = spawn(process.execPath, [BUILT_MAIN], {
    env: serviceEnvironment(),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  // also when this process is cut off while it waits
  process.once('exit', () => child.kill('SIGTERM'));
  const exited = once(child, 'exit').then(([code]: unknown[]) => (typeof code === 'number' ? code : null));
  const address = await addressWhenReady(child, exited).catch((error: unknown) => {
    child.kill('SIGKILL');
    throw error;
  });
  return {
    address,
    origin: 'was started here',
    stop: () => {
      child.kill('SIGTERM');
      return exited;
    },
  };
}

function addressWhenReady(child: ChildProcess, exited: Promise<number | null>): Promise<string> {
  const { stdout } = child;
  if (stdout === null) throw new Error('the service has no standard output');
  const lastLines: string[] = [];
  return new Promise((resolve, reject) => {
    const fail = (what: string): void => {
      reject(new Error([`shardkeep ${what}; its last words:`, ...lastLines].join('\n  ')));
    };
    const timer = setTimeout(fail, START_TIMEOUT_MS, `was not ready in ${String(START_TIMEOUT_MS / 1_000)} s`);
    // read on after it is ready, or the pipe fills and the service blocks
    createInterface({ input: stdout }).on('line', (line) => {
      lastLines.push(line);
      if (lastLines.length > KEPT_LINES) lastLines.shift();
      const address = readyAddress(line);
      if (address === undefined) return;
      clearTimeout(timer);
      resolve(address);
    });
    void exited.then((code) => {
      clearTimeout(timer);
      fail(`ended with ${String(code)}`);
    });
  });
}

/** The address in the log line that says ready; undefined for any other line. */
function readyAddress(line: string): string | undefined {
  if (!line.startsWith('{')) return undefined;
  const entry: unknown = JSON.parse(line);
  if (typeof entry !== 'object' || entry === null || !('msg' in entry && entry.msg === 'ready')) return undefined;
  return 'address' in entry && typeof entry.address === 'string' ? entry.address : undefined;
}

/** Where Redis is may be configured, as for the service itself; everything else is as the demonstration needs it. */
const PASSED_ON = [
  ...['PATH', 'HOME', 'TMPDIR', 'REDIS_SERVER_BIN'],
  ...['REDIS_URL', 'REDIS_HOST', 'REDIS_PORT', 'REDIS_PASSWORD', 'REDIS_DB'],
  ...['CACHE_REDIS_URL', 'STATE_REDIS_URL', 'LIMIT_REDIS_URL'],
];

function serviceEnvironment(): NodeJS.ProcessEnv {
  return {
    ...Object.fromEntries(PASSED_ON.map((name) => [name, process.env[name]])),
    NODE_ENV: 'development',
    NAMESPACE: 'tiny-shard',
    GRPC_LISTEN: '127.0.0.1:0',
    MAX_SESSIONS_PER_USER: String(MAX_SESSIONS_PER_USER),
  };
}
