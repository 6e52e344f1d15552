import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { startCluster, startRedis } from '../../test/support/redis-server.js';
import type { Scope } from './scope.js';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const SERVICE_MAIN = join(ROOT, 'dist/main.js');
const START_TIMEOUT_MS = 20_000;

/** A Redis to measure on. */
export interface BenchRedis {
  /** For the service's REDIS_URL. */
  readonly url: string;
  /** The same by TCP: what a program uses that does not know sockets, or leaves the defaults. */
  readonly tcpUrl: string;
  readonly pids: readonly number[];
}

export async function startStandalone(scope: Scope): Promise<BenchRedis> {
  const socketPath = join(await scope.folder(), 'redis.sock');
  const server = await startRedis(['--unixsocket', socketPath, '--appendonly', 'no']);
  scope.onClose(() => server.remove());
  return { url: `unix:${socketPath}`, tcpUrl: server.url, pids: [server.pid] };
}

/** Three masters; by TCP only, as a Cluster names its nodes by host and port. */
export async function startThreeMasters(scope: Scope): Promise<BenchRedis> {
  const cluster = await startCluster(3, 0);
  scope.onClose(() => cluster.remove());
  return { url: cluster.url, tcpUrl: cluster.url, pids: cluster.masters.map(({ pid }) => pid) };
}

export interface BenchService {
  /** host:port or unix:/path. */
  readonly address: string;
  readonly pid: number;
  /** Drains it and waits for its end. */
  stop(): Promise<void>;
}

export interface ServiceOptions {
  readonly redis: BenchRedis;
  /** By default a unix socket. */
  readonly listen?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** For node itself, such as --cpu-prof. */
  readonly nodeArgs?: readonly string[];
}

export const NAMESPACE = 'bench';

/** Starts the built product as it ships, with every layer on; its settings come from here alone. */
export async function startService(scope: Scope, options: ServiceOptions): Promise<BenchService> {
  const listen = options.listen ?? `unix:${join(await scope.folder(), 'api.sock')}`;
  const child = spawn(process.execPath, [...(options.nodeArgs ?? []), SERVICE_MAIN], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      GRPC_LISTEN: listen,
      REDIS_URL: options.redis.url,
      NAMESPACE,
      ...options.env,
    },
  });
  const stop = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGTERM');
    await exited;
  };
  scope.onClose(stop);
  const address = await untilReady(child);
  if (child.pid === undefined) throw new Error('the service has no process');
  return { address, pid: child.pid, stop };
}

function untilReady(child: ChildProcess): Promise<string> {
  const { stdout } = child;
  if (stdout === null) throw new Error('the service has no output');
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new Error('the service did not get ready'));
    }, START_TIMEOUT_MS);
    child.once('exit', (code) => {
      clearTimeout(timer);
      reject(new Error(`the service ended with ${String(code)}`));
    });
    // read to the end, or a full pipe would hold the service
    createInterface(stdout).on('line', (line) => {
      const entry = parseLogLine(line);
      // 50 is the level of errors
      if (Number(entry.level) >= 50) process.stderr.write(`${line}\n`);
      if (entry.msg !== 'ready') return;
      clearTimeout(timer);
      resolve(String(entry.address));
    });
  });
}

function parseLogLine(line: string): Readonly<Record<string, unknown>> {
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return {};
  }
}
