import calculateSlot from 'cluster-key-slot';
import { createCluster } from 'redis';
import type { Logger } from 'pino';
import { closeInTime } from './close-in-time.js';
import { clientOptions, commandOptions, socketOptions } from './client-options.js';
import {
  describeTarget,
  type ClusterTarget,
  type ConnectionEvents,
  type ConnectionOptions,
  type ConnectionStatus,
  type Endpoint,
  type MasterNode,
  type RedisConnection,
} from './connection.js';
import { replyCode } from './errors.js';
import { Heartbeat } from './heartbeat.js';
import { HeldWrites, type HeldNodes } from './held-writes.js';
import type { ScriptArg } from './lua-script.js';
import { OutageLog } from './outage-log.js';
import { prepareNode } from './prepare-node.js';
import { offline } from './server-link.js';

/** A dead master's successor is looked for this often; node-redis's default of 5 s keeps its slots away for as long. */
const TOPOLOGY_REFRESH_MS = 500;

function createClusterClient(target: ClusterTarget) {
  return createCluster({
    rootNodes: target.seeds.map(({ host, port }) => ({ socket: { host, port } })),
    defaults: { ...clientOptions(target), socket: socketOptions(target) },
    commandOptions,
    topologyRefreshOnReconnectionAttemptStrategy: TOPOLOGY_REFRESH_MS,
  });
}

const REDIRECTIONS: ReadonlySet<string> = new Set(['ASK', 'MOVED']);

/** The first discovery of a Cluster is retried by us: node-redis gives up when no seed answers. */
const DISCOVERY_RETRY_MS = 500;

/** How long the first master waits for the others before it serves alone. */
const FIRST_READY_MS = 2_000;

type ClusterClient = ReturnType<typeof createClusterClient>;
type NodeClient = NonNullable<ClusterClient['masters'][number]['client']>;

/** The connections to the masters of a Cluster. */
export class ClusterConnection implements RedisConnection {
  readonly topology = 'cluster';
  private client: ClusterClient;
  private readonly connectedNodes = new Set<string>();
  private readonly connectedTimes = new Map<string, number>();
  private readonly readyNodes = new Set<string>();
  private readonly heartbeats = new Map<string, Heartbeat>();
  private readonly openCircuits = new Set<string>();
  private readonly held: HeldWrites<NodeClient> | undefined;
  private reconnects = 0;
  private readonly outages: OutageLog;
  /** The Cluster's, of what no single node has to answer for. */
  private readonly address: string;
  private firstReadyTimer: NodeJS.Timeout | undefined;
  private hasServed = false;
  private closed = false;

  constructor(
    private readonly target: ClusterTarget,
    private readonly events: ConnectionEvents,
    private readonly logger: Logger,
    private readonly options: ConnectionOptions,
  ) {
    this.outages = new OutageLog(logger);
    this.address = describeTarget(target);
    this.client = this.createClient();
    const { replicas } = options;
    this.held = replicas && new HeldWrites(this.heldNodes(), replicas);
  }

  private heldNodes(): HeldNodes<NodeClient> {
    const ready = (client: NodeClient | undefined): NodeClient | undefined =>
      client?.isReady === true ? client : undefined;
    return {
      send: (client, command) => client.sendCommand(command, commandOptions),
      masterOf: (key) => ready(this.client.slots[calculateSlot(key)]?.master.client),
      nodeAt: (address) => ready(this.client.nodeByAddress.get(address)?.client),
      // whatever it finds there: node-redis looks for the new topology when it is redirected
      refresh: async (key) => {
        await this.sendThroughCluster(key, ['EXISTS', key]);
      },
      offline: () => offline(this.closed),
    };
  }

  private createClient(): ClusterClient {
    const client = createClusterClient(this.target);
    const lost = ({ host, port }: Endpoint): void => {
      const address = `${host}:${String(port)}`;
      this.connectedNodes.delete(address);
      this.readyNodes.delete(address);
      this.heartbeats.get(address)?.stop();
      this.heartbeats.delete(address);
      if (this.readyNodes.size === 0) this.events.onStateChange(false);
    };
    client
      .on('error', (error: Error) => {
        this.outages.failed(this.address, error, 'redis cluster error');
      })
      .on('node-error', (error: Error, node: Endpoint) => {
        this.outages.failed(`${node.host}:${String(node.port)}`, error, 'redis connection error');
      })
      .on('node-reconnecting', lost)
      .on('node-disconnect', lost)
      .on('node-ready', (node: Endpoint) => {
        this.nodeReady(node);
      });
    return client;
  }

  private nodeReady(node: Endpoint): void {
    const address = `${node.host}:${String(node.port)}`;
    this.outages.connected(address);
    this.outages.connected(this.address);
    this.logger.info({ address }, 'redis connected');
    this.connectedNodes.add(address);
    const times = this.connectedTimes.get(address) ?? 0;
    this.connectedTimes.set(address, times + 1);
    if (times > 0) this.reconnects++;
    this.listenForSilence(address);
    this.prepare(address);
  }

  private prepare(address: string): void {
    const times = this.connectedTimes.get(address);
    prepareNode({
      prepare: () => this.events.onNodeReady((command) => this.sendTo(address, command), address),
      isConnected: () => this.connectedNodes.has(address) && !this.closed && times === this.connectedTimes.get(address),
      onPrepared: () => {
        this.readyNodes.add(address);
        this.openCircuits.delete(address);
        this.serveFirst();
      },
      onError: (error) => {
        this.outages.failed(address, error, 'redis node not usable');
        this.readyNodes.delete(address);
        if (this.readyNodes.size === 0) this.events.onStateChange(false);
      },
    });
  }

  private listenForSilence(address: string): void {
    const { timeoutMs } = this.options;
    const client = this.client.nodeByAddress.get(address)?.client;
    if (timeoutMs === undefined || client === undefined) return;
    this.heartbeats.get(address)?.stop();
    const heartbeat = new Heartbeat(
      timeoutMs,
      () => client.sendCommand(['PING']),
      () => {
        this.openCircuits.add(address);
        this.logger.warn({ address, timeoutMs }, 'redis node is silent');
        breakConnection(client);
      },
    );
    this.heartbeats.set(address, heartbeat);
  }

  /** At the start all masters are about to connect: a service that said it is ready would refuse what is on the others. */
  private serveFirst(): void {
    const serve = (): void => {
      clearTimeout(this.firstReadyTimer);
      this.firstReadyTimer = undefined;
      if (this.closed || this.readyNodes.size === 0) return;
      this.hasServed = true;
      this.events.onStateChange(true);
    };
    if (this.hasServed || this.client.masters.every(({ address }) => this.readyNodes.has(address))) serve();
    else this.firstReadyTimer ??= setTimeout(serve, FIRST_READY_MS).unref();
  }

  connect(): void {
    this.client.connect().catch((error: unknown) => {
      if (this.closed) return;
      this.outages.failed(this.address, error, 'redis cluster not found');
      setTimeout(() => {
        if (this.closed) return;
        this.client.destroy();
        this.client = this.createClient();
        this.connect();
      }, DISCOVERY_RETRY_MS).unref();
    });
  }

  /**
   * Straight to the master of the key's slot: node-redis's own way over its Cluster client costs twice as much. What that
   * master redirects, or cannot take now, goes the long way, which follows redirections and looks for the new topology.
   */
  send(routingKey: string | undefined, command: readonly ScriptArg[]): Promise<unknown> {
    const master = routingKey === undefined ? undefined : this.client.slots[calculateSlot(routingKey)]?.master.client;
    if (master?.isReady !== true) return this.sendThroughCluster(routingKey, command);
    return master.sendCommand(command, commandOptions).catch((error: unknown) => {
      if (!REDIRECTIONS.has(replyCode(error))) throw error;
      return this.sendThroughCluster(routingKey, command);
    });
  }

  sendHeld(routingKey: string | undefined, command: readonly ScriptArg[]): Promise<unknown> {
    if (this.held === undefined || routingKey === undefined) return this.send(routingKey, command);
    return this.held.send(routingKey, command);
  }

  get status(): ConnectionStatus {
    // what was a node and is none any more will not answer
    const openCircuits = [...this.openCircuits].filter((address) => this.client.nodeByAddress.has(address)).length;
    return { openCircuits, reconnects: this.reconnects };
  }

  recheck(): void {
    for (const address of this.connectedNodes) this.prepare(address);
  }

  distrust(): void {
    // a master that was deposed redirects, and node-redis follows
  }

  masters(): readonly MasterNode[] {
    return this.client.masters.map(({ address }) => ({
      address,
      connectedTimes: this.connectedTimes.get(address) ?? 0,
      send: (command) => this.sendTo(address, command),
    }));
  }

  private async sendTo(address: string, command: readonly ScriptArg[]): Promise<unknown> {
    const shard = this.client.nodeByAddress.get(address);
    if (shard === undefined) throw new Error(`no cluster node ${address}`);
    // a node's own client does not inherit the Cluster's command options
    return (await this.client.nodeClient(shard)).sendCommand(command, commandOptions);
  }

  private sendThroughCluster(routingKey: string | undefined, command: readonly ScriptArg[]): Promise<unknown> {
    return this.client.sendCommand(routingKey, false, [...command]);
  }

  async close(): Promise<void> {
    this.closed = true;
    this.stopHeartbeats();
    if (this.readyNodes.size > 0) await closeInTime(this.client.close());
    this.destroy();
  }

  destroy(): void {
    this.closed = true;
    this.stopHeartbeats();
    if (this.client.isOpen) this.client.destroy();
  }

  private stopHeartbeats(): void {
    for (const heartbeat of this.heartbeats.values()) heartbeat.stop();
  }
}

/** At once; 0 would stand for no timeout. */
const AT_ONCE_MS = 1;

/**
 * Breaks the connection of one node as if it had timed out: what is in flight fails, and node-redis connects again and
 * looks who took over. To destroy the client would do the first only, and there is no other way to a node's socket.
 */
function breakConnection(client: NodeClient): void {
  client._maintenanceUpdate({ relaxedSocketTimeout: AT_ONCE_MS });
  client.once('reconnecting', () => {
    client._maintenanceUpdate({});
  });
}
