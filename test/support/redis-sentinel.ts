import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findRedisBinary } from '../../src/redis/embedded.js';
import { SERVICE_LOGIN } from './redis-user.js';
import { commandOn, freePort, startRedis, until, untilAnswers, type RedisServer } from './redis-server.js';

/** A master, its replicas and three sentinels, as processes of this machine. */

export const MASTER_NAME = 'mymaster';
export const DOWN_AFTER_MS = 1_000;
const SENTINELS = 3;
const QUORUM = 2;

export interface Sentinel {
  readonly port: number;
  command(...args: string[]): Promise<unknown>;
  signal(signal: NodeJS.Signals): void;
  stop(signal?: NodeJS.Signals): Promise<void>;
  restart(): Promise<void>;
}

export interface SentinelSetup {
  /** Names all sentinels. */
  readonly url: string;
  /** The first one is the master, until a failover. */
  readonly servers: readonly RedisServer[];
  readonly sentinels: readonly Sentinel[];
  /** Who the master is, as a majority of the running sentinels says; undefined: they do not agree. */
  master(): Promise<RedisServer | undefined>;
  /** Waits until another server than this one is the master and says so itself. */
  untilFailedOverFrom(old: RedisServer): Promise<RedisServer>;
  remove(): Promise<void>;
}

export interface SentinelOptions {
  readonly replicas?: number;
  /** Of every server besides. */
  readonly flags?: readonly string[];
  /** All talk TLS to each other and ask for certificates; the plain ports are for the tests alone. */
  readonly tls?: SentinelTls;
  /** Lines of every sentinel's configuration besides. */
  readonly sentinelLines?: readonly string[];
}

/** PEM files that every server and sentinel shows and trusts. */
export interface SentinelTls {
  readonly certFile: string;
  readonly keyFile: string;
  readonly caFile: string;
}

interface Place {
  readonly server: RedisServer;
  /** Where replicas, sentinels and services find it. */
  readonly port: number;
}

export async function startSentinel(options: SentinelOptions = {}): Promise<SentinelSetup> {
  const { replicas = 1, flags = [], tls } = options;
  const shared = ['--repl-diskless-sync-delay', '0', '--repl-ping-replica-period', '1', ...flags];
  const startPlace = async (...own: readonly string[]): Promise<Place> => {
    if (tls === undefined) {
      const server = await startRedis([...shared, ...own]);
      return { server, port: server.port };
    }
    const port = await freePort();
    const tlsFlags = tlsSettings(port, tls).flatMap(([name, value]) => [`--${name}`, value]);
    return { server: await startRedis([...shared, ...tlsFlags, ...own]), port };
  };
  const first = await startPlace();
  const others = await Promise.all(
    Array.from({ length: replicas }, () => startPlace('--replicaof', `127.0.0.1 ${String(first.port)}`)),
  );
  const places = [first, ...others];
  const servers = places.map(({ server }) => server);
  await until(async () => {
    const infos = await Promise.all(others.map(({ server }) => server.command('INFO', 'replication')));
    return infos.every((info) => String(info).includes('master_link_status:up'));
  });
  const dir = await mkdtemp(join(tmpdir(), 'shardkeep-test-sentinel-'));
  const sentinels = await Promise.all(
    Array.from({ length: SENTINELS }, async () => {
      const port = await freePort();
      const tlsPort = tls === undefined ? undefined : await freePort();
      const file = join(dir, `${String(port)}.conf`);
      const tlsLines = tlsPort === undefined || tls === undefined ? [] : tlsSettings(tlsPort, tls);
      const address = '127.0.0.1';
      await writeFile(
        file,
        [
          sentinelConfig(port, { address, masterAddress: address, masterPort: first.port, dir }),
          ...tlsLines.map(([name, value]) => `${name} ${value}`),
          ...(options.sentinelLines ?? []),
          '',
        ].join('\n'),
      );
      return { ...(await startOneSentinel(port, file)), place: tlsPort ?? port };
    }),
  );
  // each knows the others and the replicas: before, none would fail over
  await until(async () => {
    const infos = await Promise.all(sentinels.map(({ port }) => commandOn(port, ['INFO', 'sentinel'])));
    return infos.every((info) => String(info).includes(`slaves=${String(replicas)},sentinels=${String(SENTINELS)}`));
  });
  const scheme = tls === undefined ? 'redis+sentinel' : 'rediss+sentinel';
  const addresses = sentinels.map(({ place }) => `127.0.0.1:${String(place)}`).join(',');
  const setup: SentinelSetup = {
    url: `${scheme}://${SERVICE_LOGIN}${addresses}/${MASTER_NAME}`,
    servers,
    sentinels,
    master: async () => {
      const answers = await Promise.allSettled(
        sentinels.map(({ port }) => commandOn(port, ['SENTINEL', 'GET-MASTER-ADDR-BY-NAME', MASTER_NAME])),
      );
      const ports = answers.flatMap((answer) =>
        answer.status === 'fulfilled' && Array.isArray(answer.value) ? [Number(answer.value[1])] : [],
      );
      return places.find(({ port }) => ports.filter((named) => named === port).length >= QUORUM)?.server;
    },
    untilFailedOverFrom: async (old) => {
      let next: RedisServer | undefined;
      await until(async () => {
        next = await setup.master();
        if (next === undefined || next === old) return false;
        return String(await next.command('INFO', 'replication')).includes('role:master');
      });
      if (next === undefined) throw new Error('there is no master');
      return next;
    },
    remove: async () => {
      await Promise.all([...sentinels.map((sentinel) => sentinel.stop('SIGKILL')), ...servers.map((s) => s.remove())]);
      await rm(dir, { recursive: true, force: true });
    },
  };
  return setup;
}

export interface SentinelPlace {
  readonly address: string;
  readonly masterAddress: string;
  readonly masterPort: number;
  readonly dir: string;
}

/** The file that a sentinel is started with, and writes to. */
export function sentinelConfig(port: number, { address, masterAddress, masterPort, dir }: SentinelPlace): string {
  return [
    `port ${String(port)}`,
    `bind ${address}`,
    `dir ${dir}`,
    `sentinel monitor ${MASTER_NAME} ${masterAddress} ${String(masterPort)} ${String(QUORUM)}`,
    `sentinel down-after-milliseconds ${MASTER_NAME} ${String(DOWN_AFTER_MS)}`,
    `sentinel failover-timeout ${MASTER_NAME} 3000`,
    '',
  ].join('\n');
}

function tlsSettings(port: number, tls: SentinelTls): readonly (readonly [name: string, value: string])[] {
  return [
    ['tls-port', String(port)],
    ['tls-cert-file', tls.certFile],
    ['tls-key-file', tls.keyFile],
    ['tls-ca-cert-file', tls.caFile],
    ['tls-auth-clients', 'yes'],
    ['tls-replication', 'yes'],
  ];
}

async function startOneSentinel(port: number, file: string): Promise<Sentinel> {
  const binary = findRedisBinary(process.env.REDIS_SERVER_BIN);
  if (binary === undefined) throw new Error('no redis-server on this machine; run `make redis`');
  let child: ChildProcess | undefined;
  const start = async (): Promise<void> => {
    child = spawn(binary, [file, '--sentinel'], { stdio: 'ignore' });
    await untilAnswers(port);
  };
  await start();
  return {
    port,
    command: (...args) => commandOn(port, args),
    signal: (signal) => child?.kill(signal),
    stop: async (signal = 'SIGTERM') => {
      if (child?.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, 'exit');
      child.kill(signal);
      child.kill('SIGCONT');
      await exited;
    },
    restart: start,
  };
}
