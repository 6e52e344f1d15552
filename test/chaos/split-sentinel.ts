import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createClient } from 'redis';
import { findRedisBinary } from '../../src/redis/embedded.js';
import { sentinelConfig, MASTER_NAME } from '../support/redis-sentinel.js';
import { serverFlags, until } from '../support/redis-server.js';
import { SERVICE_LOGIN, serviceUserFlags } from '../support/redis-user.js';
import { NetworkSides, type Side } from './network-sides.js';

/**
 * A master with a sentinel at one side of a network, two replicas (or the next master would have none) with two sentinels at the
 * other. Whoever looks at them from
 * outside takes their unix sockets, which no cut wire ends.
 */

const REDIS_PORT = 6_379;
const SENTINEL_PORT = 26_379;
const SERVERS: readonly Side[] = ['here', 'there', 'there'];
const SENTINELS: readonly Side[] = ['here', 'there', 'there'];

export class SplitSentinel {
  readonly network = new NetworkSides();
  /** For sockets and the files of whatever runs. */
  readonly folder = mkdtempSync(join(tmpdir(), 'shardkeep-chaos-sides-'));
  private readonly started: Server[] = [];

  private constructor(private readonly flags: readonly string[]) {}

  static async start(flags: readonly string[]): Promise<SplitSentinel> {
    const split = new SplitSentinel(flags);
    try {
      await split.build();
      return split;
    } catch (error) {
      await split.remove();
      throw error;
    }
  }

  /** Names all sentinels. */
  get url(): string {
    const hosts = SENTINELS.map((side, index) => `${this.network.address(side)}:${String(SENTINEL_PORT + index)}`);
    return `redis+sentinel://${SERVICE_LOGIN}${hosts.join(',')}/${MASTER_NAME}`;
  }

  /** The first one is the master, until a failover. */
  get servers(): readonly Server[] {
    return this.started.slice(0, SERVERS.length);
  }

  async remove(): Promise<void> {
    await Promise.all(this.started.map((server) => server.kill()));
    this.network.remove();
    rmSync(this.folder, { recursive: true, force: true });
  }

  private async build(): Promise<void> {
    const { network } = this;
    for (const index of SERVERS.keys()) await this.startRedis(index);
    await until(async () => {
      const infos = await Promise.all(this.servers.slice(1).map((replica) => replica.command('INFO', 'replication')));
      return infos.every((info) => String(info).includes('link_status:up'));
    });
    for (const [index, side] of SENTINELS.entries()) {
      const file = join(this.folder, `sentinel-${String(index)}.conf`);
      const address = network.address(side);
      const config = sentinelConfig(SENTINEL_PORT + index, {
        ...{ address, dir: this.folder },
        ...{ masterAddress: network.address('here'), masterPort: REDIS_PORT },
      });
      const socket = join(this.folder, `sentinel-${String(index)}.sock`);
      writeFileSync(file, `${config}unixsocket ${socket}\n`);
      await this.startServer(side, socket, [file, '--sentinel']);
    }
    const sentinels = this.started.slice(SERVERS.length);
    await until(async () => {
      const infos = await Promise.all(sentinels.map((sentinel) => sentinel.command('INFO', 'sentinel')));
      return infos.every((info) =>
        String(info).includes(`slaves=${String(SERVERS.length - 1)},sentinels=${String(SENTINELS.length)}`),
      );
    });
  }

  private async startRedis(index: number): Promise<void> {
    const side = SERVERS[index] ?? 'here';
    const socket = join(this.folder, `redis-${String(index)}.sock`);
    const flags = serverFlags(REDIS_PORT + index, this.network.address(side), this.folder);
    const open = ['--protected-mode', 'no', '--unixsocket', socket, '--dbfilename', `${String(index)}.rdb`];
    const copying = ['--repl-diskless-sync-delay', '0', '--repl-ping-replica-period', '1'];
    const master = index === 0 ? [] : ['--replicaof', this.network.address('here'), String(REDIS_PORT)];
    const args = [...flags, ...open, ...copying, ...serviceUserFlags(), ...this.flags, ...master];
    await this.startServer(side, socket, args);
  }

  private async startServer(side: Side, socket: string, args: readonly string[]): Promise<void> {
    const binary = findRedisBinary(process.env.REDIS_SERVER_BIN);
    if (binary === undefined) throw new Error('no redis-server on this machine; run `make redis`');
    const [command = '', ...before] = this.network.command(side);
    const server = new Server(spawn(command, [...before, binary, ...args], { stdio: 'ignore' }), socket);
    this.started.push(server);
    await until(async () => (await server.command('PING')) === 'PONG');
  }
}

class Server {
  constructor(
    private readonly child: ChildProcess,
    private readonly socket: string,
  ) {}

  get url(): string {
    return `unix:${this.socket}`;
  }

  async command(...args: string[]): Promise<unknown> {
    const client = createClient({ socket: { path: this.socket, reconnectStrategy: false } });
    client.on('error', () => undefined);
    await client.connect();
    try {
      return await client.sendCommand(args);
    } finally {
      client.destroy();
    }
  }

  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exited = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await exited;
  }
}
