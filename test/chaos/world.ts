import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type ConnectOptions, type ShardkeepClient } from '../../src/client/index.js';
import { makeSteppedClock, startClockedRedis, type SteppedClock } from '../support/clocked-redis.js';
import { startSentinel, type SentinelSetup } from '../support/redis-sentinel.js';
import { randomNamespace, type Environment } from '../support/namespace.js';
import { asOurselves } from '../support/redis-user.js';
import { freePort, startCluster, startRedis, type RedisCluster, type RedisServer } from '../support/redis-server.js';
import { SeededRandom } from '../support/seeded-random.js';
import { Balancer } from './balancer.js';
import { FaultProxy } from './fault-proxy.js';
import { nowMs, type HistoryFile } from './history.js';
import { chaosPolicies } from './load/policies.js';
import type { LoadProcess } from './load-process.js';
import type { Setup } from './setup.js';
import { SIDES } from './network-sides.js';
import { ServiceUnderChaos, type ServiceOptions } from './service-under-chaos.js';
import { SplitSentinel } from './split-sentinel.js';

/** The services cut every deadline to it, which is how they are seen to keep theirs: callers without a clock name none. */
export const SERVICE_DEADLINE_MS = 2_000;

const PERSISTENCE = {
  none: [],
  'aof-always': ['--appendonly', 'yes', '--appendfsync', 'always'],
  'aof-everysec': ['--appendonly', 'yes', '--appendfsync', 'everysec'],
} as const;

export interface WorldOptions {
  readonly setup: Setup;
  readonly seed: number;
  readonly file: HistoryFile;
  /** Another build of the service than dist/. */
  readonly main?: string | undefined;
}

/** The system of one row: Redis, services, what is between them, and what can be done to them. */
export class World {
  readonly namespace = randomNamespace();
  readonly random: SeededRandom;
  readonly services: ServiceUnderChaos[] = [];
  /** Of each service, where each has its own. */
  readonly networks: FaultProxy[] = [];
  readonly policiesPath = chaosPolicies();
  private readonly file: HistoryFile;
  private readonly cleanups: (() => Promise<unknown>)[] = [];
  private parts: {
    redis?: RedisServer;
    cluster?: RedisCluster;
    sentinel?: SentinelSetup;
    split?: SplitSentinel;
    network?: FaultProxy;
    clock?: SteppedClock;
  } = {};
  private balancing: Balancer | undefined;
  private calling: LoadProcess | undefined;

  private constructor(private readonly options: WorldOptions) {
    this.random = new SeededRandom(options.seed);
    this.file = options.file;
  }

  static async start(options: WorldOptions): Promise<World> {
    const world = new World(options);
    try {
      await world.build();
      return world;
    } catch (error) {
      await world.remove();
      throw error;
    }
  }

  get redis(): RedisServer {
    return there(this.parts.redis, 'one Redis');
  }

  get cluster(): RedisCluster {
    return there(this.parts.cluster, 'Cluster');
  }

  get sentinel(): SentinelSetup {
    return there(this.parts.sentinel, 'Sentinel');
  }

  get split(): SplitSentinel {
    return there(this.parts.split, 'Sentinel of two sides');
  }

  get network(): FaultProxy {
    return there(this.parts.network, 'network');
  }

  get clock(): SteppedClock {
    return there(this.parts.clock, 'clock');
  }

  get balancer(): Balancer {
    return there(this.balancing, 'balancer');
  }

  /** One of the services. */
  service(number: number): ServiceUnderChaos {
    return there(this.services[number], `service ${String(number)}`);
  }

  get load(): LoadProcess {
    return there(this.calling, 'load');
  }

  /** Where the clients call. */
  get addresses(): string[] {
    return this.balancing === undefined ? this.services.map(({ address }) => address) : [this.balancing.address];
  }

  /** Who has what is to last. */
  async masterUrls(): Promise<string[]> {
    const { redis, cluster, sentinel, split } = this.parts;
    // the sentinels leave an old master that comes back a master by its own word for some 10 s more
    if (sentinel !== undefined) return [asOurselves((await sentinel.master())?.url ?? '')];
    const nodes = [
      ...(redis === undefined ? [] : [redis]),
      ...(cluster === undefined ? [] : [...cluster.masters, ...cluster.replicas]),
      ...(split?.servers ?? []),
    ];
    const roles = await Promise.all(nodes.map((node) => node.command('ROLE').catch(() => [])));
    return nodes
      .filter((_, index) => String((roles[index] as unknown[])[0]) === 'master')
      .map(({ url }) => asOurselves(url));
  }

  loadedBy(load: LoadProcess): void {
    this.calling = load;
  }

  /** From now on something is wrong. */
  begin(what: string): void {
    this.mark('begin', what);
  }

  /** From now on it is not, and calls are to succeed soon. */
  end(what: string): void {
    this.mark('end', what);
  }

  /** The whole of a fault: done, left for so long, undone. */
  async fault(what: string, { inject, undo, forMs = 0 }: Fault): Promise<void> {
    this.begin(what);
    await inject();
    await sleep(forMs);
    await undo();
    this.end(what);
  }

  /** Something that this row alone promises. */
  claim(what: string, holds: boolean): void {
    this.file.add({ kind: 'claim', what, holds });
  }

  figure(what: string, value: number | string): void {
    this.file.add({ kind: 'figure', what, value: String(value) });
  }

  /** So many more calls, and at least so long. */
  async calm(ms: number): Promise<void> {
    await Promise.all([this.load.more(100), sleep(ms)]);
  }

  /** Ends all processes and removes what they wrote. */
  async remove(): Promise<void> {
    for (const cleanup of this.cleanups.splice(0).reverse()) await cleanup();
  }

  /** Another client of one of the services, closed at the end. */
  client(index: number, options: ConnectOptions = {}): ShardkeepClient {
    const address = this.addresses[index % this.addresses.length] ?? '';
    const client = connect(address, { logger: false, ...options });
    this.onEnd(() => client.close());
    return client;
  }

  onEnd(cleanup: () => Promise<unknown>): void {
    this.cleanups.push(cleanup);
  }

  private mark(phase: 'begin' | 'end', what: string): void {
    this.file.add({ kind: 'fault', phase, what, atMs: nowMs() });
  }

  private async build(): Promise<void> {
    const { setup } = this.options;
    const { services = 2 } = setup;
    const url = await this.startStore();
    const env = {
      REDIS_URL: setup.redisUrl?.(url) ?? url,
      NAMESPACE: this.namespace,
      POLICIES_FILE: this.policiesPath,
      DEFAULT_DEADLINE_MS: String(SERVICE_DEADLINE_MS),
      MAX_DEADLINE_MS: String(SERVICE_DEADLINE_MS),
      ...this.serviceClockEnv(),
      ...setup.serviceEnv,
    };
    const { main } = this.options;
    const options = { nodeArgs: setup.nodeArgs ?? [], ...(main === undefined ? {} : { main }) };
    for (let number = 0; number < services; number++) {
      const health = setup.healthListener === true ? { healthPort: await freePort() } : {};
      const place = { ...options, ...health, ...this.placeOf(number) };
      const service = await ServiceUnderChaos.start(number, { ...env, ...(await this.networkEnv()) }, place);
      this.services.push(service);
      this.onEnd(() => service.stop('SIGKILL'));
    }
    if (setup.balanced !== true) return;
    this.balancing = await Balancer.start();
    for (const { port } of this.services) this.balancing.add(port);
    this.onEnd(() => this.balancer.close());
  }

  private startStore(): Promise<string> {
    const { persistence = 'none', redisFlags = [], clusterMasters, sentinelReplicas, sides } = this.options.setup;
    const flags = [...PERSISTENCE[persistence], ...redisFlags];
    if (clusterMasters !== undefined) return this.startCluster(clusterMasters);
    if (sentinelReplicas !== undefined) return this.startSentinel(sentinelReplicas, flags);
    return sides === true ? this.startSplit(flags) : this.startRedis(flags);
  }

  /** Of two sides each has a service, which clients reach whatever becomes of the wire between them. */
  private placeOf(number: number): Pick<ServiceOptions, 'under' | 'socket'> {
    const { split } = this.parts;
    const side = SIDES[number];
    if (split === undefined || side === undefined) return {};
    return { under: split.network.command(side), socket: join(split.folder, `service-${side}.sock`) };
  }

  private async networkEnv(): Promise<Environment> {
    if (this.options.setup.networks !== true) return {};
    const network = await FaultProxy.start(this.redis.port);
    this.networks.push(network);
    this.onEnd(() => network.close());
    return { REDIS_URL: network.url };
  }

  /** The library that sets the clock of a Redis works for any process. */
  private serviceClockEnv(): Environment {
    if (this.options.setup.steppedServiceClock !== true) return {};
    const made = makeSteppedClock();
    made.clock.runAt(0);
    this.parts = { ...this.parts, clock: made.clock };
    this.onEnd(() => {
      made.remove();
      return Promise.resolve();
    });
    return made.env;
  }

  private async startRedis(flags: readonly string[]): Promise<string> {
    const { setup } = this.options;
    if (setup.steppedClock === true) {
      const clocked = await startClockedRedis(flags);
      clocked.clock.runAt(0);
      this.parts = { redis: clocked.server, clock: clocked.clock };
      this.onEnd(() => clocked.remove());
    } else {
      const redis = await startRedis(flags);
      this.parts = { redis };
      this.onEnd(() => redis.remove());
    }
    if (setup.network !== true) return this.redis.url;
    const network = await FaultProxy.start(this.redis.port);
    this.parts = { ...this.parts, network };
    this.onEnd(() => network.close());
    return network.url;
  }

  private async startSentinel(replicas: number, flags: readonly string[]): Promise<string> {
    const sentinel = await startSentinel({ replicas, flags });
    this.parts = { sentinel };
    this.onEnd(() => sentinel.remove());
    return sentinel.url;
  }

  private async startSplit(flags: readonly string[]): Promise<string> {
    const split = await SplitSentinel.start(flags);
    this.parts = { split };
    this.onEnd(() => split.remove());
    return split.url;
  }

  private async startCluster(masters: number): Promise<string> {
    const cluster = await startCluster(masters, 1);
    this.parts = { cluster };
    this.onEnd(() => cluster.remove());
    return cluster.url;
  }
}

function there<Part>(part: Part | undefined, name: string): Part {
  if (part === undefined) throw new Error(`this row has no ${name}`);
  return part;
}

interface Fault {
  readonly inject: () => unknown;
  readonly undo: () => unknown;
  readonly forMs?: number;
}
