import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createClient } from 'redis';
import { findRedisBinary } from '../../src/redis/embedded.js';
import { SERVICE_LOGIN, serviceUserFlags } from './redis-user.js';

/** Real Redis processes for tests, on free loopback ports. */

const LOOPBACK = '127.0.0.1';
/** Each worker of jest has so many, below 32,768, where Linux begins to give ports to connections. */
const OWN_PORTS = 2_800;
const FIRST_OWN_PORT = 10_000 + (Number(process.env.JEST_WORKER_ID ?? 0) % 8) * OWN_PORTS;
let portsTried = Math.floor(Math.random() * OWN_PORTS);

export interface RedisServer {
  readonly port: number;
  /** For services, as their user; `asOurselves` makes it one for the tests' own clients. */
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

/**
 * A port that nobody else of a run gets, below those that the system gives to connections and to whoever asks for any: one
 * of these could be taken between two starts of a server.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FIRST_OWN_PORT + (portsTried++ % OWN_PORTS);
    const server = createServer().listen(port, LOOPBACK);
    const isFree = await once(server, 'listening').then(
      () => true,
      () => false,
    );
    if (!isFree) continue;
    server.close();
    await once(server, 'close');
    return port;
  }
}

/** `flags` may hold a `--user` of their own, in the place of the usual one. */
export async function startRedis(flags: readonly string[] = [], env = process.env): Promise<RedisServer> {
  const binary = findRedisBinary(process.env.REDIS_SERVER_BIN);
  if (binary === undefined) throw new Error('no redis-server on this machine; run `make redis`');
  const port = await freePort();
  const dir = await mkdtemp(join(tmpdir(), 'shardkeep-test-redis-'));
  let child: ChildProcess | undefined;

  const start = async (): Promise<void> => {
    const user = flags.includes('--user') ? [] : serviceUserFlags();
    child = spawn(binary, [...serverFlags(port, LOOPBACK, dir), ...user, ...flags], { stdio: 'ignore', env });
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
    url: serviceUrl(port),
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

/** How a service reaches what listens at a port, a Redis or a proxy before one. */
export function serviceUrl(port: number): string {
  return `redis://${SERVICE_LOGIN}${LOOPBACK}:${String(port)}`;
}

/** What every Redis of the tests is started with, as a process or in a container. */
export function serverFlags(port: number, bind: string, dir: string): string[] {
  return ['--port', String(port), '--bind', bind, '--dir', dir, '--save', '', '--loglevel', 'warning'];
}

export async function commandOn(port: number, args: readonly string[]): Promise<unknown> {
  const client = createClient({ socket: { host: LOOPBACK, port, reconnectStrategy: false } });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return await client.sendCommand(args);
  } finally {
    client.destroy();
  }
}

export async function untilAnswers(port: number): Promise<void> {
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

/** A running node that is to be part of a Cluster; on loopback for us and for the other nodes. */
export interface ClusterNode {
  readonly port: number;
  readonly busPort: number;
}

export function clusterFlags(busPort: number): string[] {
  const flags = {
    'cluster-enabled': 'yes',
    'cluster-config-file': 'nodes.conf',
    'cluster-port': String(busPort),
    'cluster-node-timeout': String(NODE_TIMEOUT_MS),
    'cluster-require-full-coverage': 'no',
    'repl-diskless-sync-delay': '0',
  };
  return Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value]);
}

/** A Cluster of so many masters and as many replicas each; ready to fail over. */
export async function startCluster(masterCount: number, replicasEach: number): Promise<RedisCluster> {
  const count = masterCount * (1 + replicasEach);
  const nodes = await Promise.all(
    Array.from({ length: count }, async () => {
      const busPort = await freePort();
      const server = await startRedis(clusterFlags(busPort));
      return { server, port: server.port, busPort };
    }),
  );
  await formCluster(nodes, masterCount);
  const servers = nodes.map(({ server }) => server);
  const masters = servers.slice(0, masterCount);
  return {
    url: clusterUrl(masters),
    masters,
    replicas: servers.slice(masterCount),
    remove: async () => {
      await Promise.all(servers.map((server) => server.remove()));
    },
  };
}

export function clusterUrl(nodes: readonly { readonly port: number }[]): string {
  return `redis+cluster://${SERVICE_LOGIN}${nodes.map(({ port }) => `${LOOPBACK}:${String(port)}`).join(',')}`;
}

/** Makes a Cluster of running nodes, the first of them its masters, and waits until it is ready to fail over. */
export async function formCluster(nodes: readonly ClusterNode[], masterCount: number): Promise<void> {
  const masters = nodes.slice(0, masterCount);
  const replicas = nodes.slice(masterCount);
  const [first] = nodes;
  if (first === undefined) throw new Error('a Cluster needs a node');

  await Promise.all(
    masters.map((master, index) => {
      const from = Math.floor((SLOTS * index) / masterCount);
      const to = Math.floor((SLOTS * (index + 1)) / masterCount) - 1;
      return commandOn(master.port, ['CLUSTER', 'ADDSLOTSRANGE', String(from), String(to)]);
    }),
  );
  for (const [index, node] of nodes.entries()) {
    await commandOn(node.port, ['CLUSTER', 'SET-CONFIG-EPOCH', String(index + 1)]);
  }
  for (const node of nodes.slice(1)) {
    await commandOn(node.port, ['CLUSTER', 'MEET', LOOPBACK, String(first.port), String(first.busPort)]);
  }
  await until(async () => {
    const known = await Promise.all(nodes.map((node) => commandOn(node.port, ['CLUSTER', 'NODES'])));
    return known.every((text) => String(text).trim().split('\n').length === nodes.length);
  });
  for (const [index, replica] of replicas.entries()) {
    const master = masters[index % masterCount];
    if (master === undefined) throw new Error('no master');
    const id = String(await commandOn(master.port, ['CLUSTER', 'MYID']));
    await until(async () => (await commandOn(replica.port, ['CLUSTER', 'REPLICATE', id])) === 'OK');
  }
  await until(async () => {
    const states = await Promise.all(nodes.map((node) => commandOn(node.port, ['CLUSTER', 'INFO'])));
    const links = await Promise.all(replicas.map((replica) => commandOn(replica.port, ['INFO', 'replication'])));
    return (
      states.every((text) => String(text).includes('cluster_state:ok')) &&
      links.every((text) => String(text).includes('master_link_status:up'))
    );
  });
}
