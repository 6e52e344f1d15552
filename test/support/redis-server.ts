import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createClient } from 'redis';
import { findRedisBinary } from '../../src/redis/embedded.js';

/** Real Redis processes for tests, on free loopback ports. */

export interface RedisServer {
  readonly port: number;
  readonly url: string;
  readonly pid: number;
  /** Sends one command on a connection of its own. */
  command(...args: string[]): Promise<unknown>;
  signal(signal: NodeJS.Signals): void;
  /** Ends the process and waits for it; with SIGKILL as if the machine died. */
  stop(signal?: NodeJS.Signals): Promise<void>;
  /** Starts it again on the same port and folder. */
  restart(): Promise<void>;
  /** Stops it and removes its folder. */
  remove(): Promise<void>;
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

export async function startRedis(flags: readonly string[] = []): Promise<RedisServer> {
  const binary = findRedisBinary(process.env.REDIS_SERVER_BIN);
  if (binary === undefined) throw new Error('no redis-server on this machine; run `make redis`');
  const port = await freePort();
  const dir = await mkdtemp(join(tmpdir(), 'shardkeep-test-redis-'));
  let child: ChildProcess | undefined;

  const start = async (): Promise<void> => {
    const base = ['--port', String(port), '--bind', '127.0.0.1', '--dir', dir, '--save', '', '--loglevel', 'warning'];
    child = spawn(binary, [...base, ...flags], { stdio: 'ignore' });
    await untilAnswers(port);
  };
  const stop = async (signal: NodeJS.Signals = 'SIGTERM'): Promise<void> => {
    if (child?.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill(signal);
    child.kill('SIGCONT');
    await exited;
  };
  await start();
  return {
    port,
    url: `redis://127.0.0.1:${String(port)}`,
    get pid() {
      if (child?.pid === undefined) throw new Error('not running');
      return child.pid;
    },
    command: (...args) => commandOn(port, args),
    signal: (signal) => child?.kill(signal),
    stop,
    restart: start,
    remove: async () => {
      await stop('SIGKILL');
      await rm(dir, { recursive: true, force: true });
    },
  };
}

export async function commandOn(port: number, args: readonly string[]): Promise<unknown> {
  const client = createClient({ socket: { host: '127.0.0.1', port, reconnectStrategy: false } });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return await client.sendCommand(args);
  } finally {
    client.destroy();
  }
}

async function untilAnswers(port: number): Promise<void> {
  await until(async () => (await commandOn(port, ['PING'])) === 'PONG');
}

const POLL_MS = 20;
const PATIENCE_MS = 30_000;

/** Asks again and again until the answer is true; errors count as false. */
export async function until(condition: () => Promise<boolean> | boolean): Promise<void> {
  const giveUpAt = performance.now() + PATIENCE_MS;
  let lastError: unknown;
  while (performance.now() < giveUpAt) {
    try {
      if (await condition()) return;
    } catch (error) {
      lastError = error;
    }
    await sleep(POLL_MS);
  }
  throw new Error('condition not met in time', { cause: lastError });
}

export interface RedisCluster {
  readonly url: string;
  readonly masters: readonly RedisServer[];
  readonly replicas: readonly RedisServer[];
  remove(): Promise<void>;
}

const SLOTS = 16_384;
const NODE_TIMEOUT_MS = 2_000;

/** A Cluster of so many masters and as many replicas each; ready to fail over. */
export async function startCluster(masterCount: number, replicasEach: number): Promise<RedisCluster> {
  const count = masterCount * (1 + replicasEach);
  const nodes = await Promise.all(
    Array.from({ length: count }, async () => {
      const busPort = await freePort();
      const clusterFlags = {
        'cluster-enabled': 'yes',
        'cluster-config-file': 'nodes.conf',
        'cluster-port': String(busPort),
        'cluster-node-timeout': String(NODE_TIMEOUT_MS),
        'cluster-require-full-coverage': 'no',
        'repl-diskless-sync-delay': '0',
      };
      const flags = Object.entries(clusterFlags).flatMap(([name, value]) => [`--${name}`, value]);
      return { server: await startRedis(flags), busPort };
    }),
  );
  const servers = nodes.map(({ server }) => server);
  const masters = servers.slice(0, masterCount);
  const replicas = servers.slice(masterCount);
  const [first] = nodes;
  if (first === undefined) throw new Error('a Cluster needs a node');

  await Promise.all(
    masters.map((master, index) => {
      const from = Math.floor((SLOTS * index) / masterCount);
      const to = Math.floor((SLOTS * (index + 1)) / masterCount) - 1;
      return master.command('CLUSTER', 'ADDSLOTSRANGE', String(from), String(to));
    }),
  );
  for (const [index, server] of servers.entries()) {
    await server.command('CLUSTER', 'SET-CONFIG-EPOCH', String(index + 1));
  }
  for (const server of servers.slice(1)) {
    await server.command('CLUSTER', 'MEET', '127.0.0.1', String(first.server.port), String(first.busPort));
  }
  await until(async () => {
    const known = await Promise.all(servers.map((server) => server.command('CLUSTER', 'NODES')));
    return known.every((text) => String(text).trim().split('\n').length === count);
  });
  for (const [index, replica] of replicas.entries()) {
    const master = masters[index % masterCount];
    if (master === undefined) throw new Error('no master');
    const id = String(await master.command('CLUSTER', 'MYID'));
    await until(async () => (await replica.command('CLUSTER', 'REPLICATE', id)) === 'OK');
  }
  await until(async () => {
    const states = await Promise.all(servers.map((server) => server.command('CLUSTER', 'INFO')));
    const links = await Promise.all(replicas.map((replica) => replica.command('INFO', 'replication')));
    return (
      states.every((text) => String(text).includes('cluster_state:ok')) &&
      links.every((text) => String(text).includes('master_link_status:up'))
    );
  });
  return {
    url: `redis+cluster://${masters.map(({ port }) => `127.0.0.1:${String(port)}`).join(',')}`,
    masters,
    replicas,
    remove: async () => {
      await Promise.all(servers.map((server) => server.remove()));
    },
  };
}
