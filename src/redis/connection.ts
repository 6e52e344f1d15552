import calculateSlot from 'cluster-key-slot';
import { createClient, createCluster, type BasicClientSideCache } from 'redis';
import type { Logger } from 'pino';
import { clientOptions, commandOptions, socketOptions, type RedisAccess } from './client-options.js';
import { closeInTime } from './close-in-time.js';
import { replyCode } from './errors.js';
import type { ScriptArg } from './lua-script.js';
import { OutageLog } from './outage-log.js';
import { prepareNode } from './prepare-node.js';

/** Where a Redis is and how to log in. */
export type RedisTarget = RedisAccess &
  (
    | { readonly topology: 'standalone'; readonly host: string; readonly port: number; readonly database: number }
    | { readonly topology: 'standalone'; readonly socketPath: string; readonly database: number }
    | { readonly topology: 'cluster'; readonly seeds: readonly { readonly host: string; readonly port: number }[] }
  );

/** One node as seen through a connection: runs a command on it and nowhere else. */
export type NodeCommand = (command: readonly ScriptArg[]) => Promise<unknown>;

/** A master as it is known now. */
export interface MasterNode {
  readonly address: string;
  /** How often it was connected. When that changes, it may have restarted in between. */
  readonly connectedTimes: number;
  readonly send: NodeCommand;
}

export interface ConnectionEvents {
  /** A node's connection is up, again or for the first time; commands flow after the promise resolved. */
  readonly onNodeReady: (node: NodeCommand, address: string) => Promise<void>;
  /** The connection can or cannot serve. On Cluster: at least one master can. */
  readonly onStateChange: (ready: boolean) => void;
}

/** One connection (on Cluster: one a master), pipelined; it reconnects for ever until closed. */
export interface RedisConnection {
  readonly topology: 'standalone' | 'cluster';
  /** Begins to connect in the background. */
  connect(): void;
  /** Sends one command to the node of `routingKey`; fails at once when that node is away. */
  send(routingKey: string | undefined, command: readonly ScriptArg[]): Promise<unknown>;
  /** Every master; one that is away fails what is sent to it. On standalone the one node. */
  masters(): readonly MasterNode[];
  /** Prepares every connected node anew, and serves no longer from those that fail. */
  recheck(): void;
  /** Waits for the replies of what was sent, then closes. */
  close(): Promise<void>;
  /** Closes now; what is in flight fails. */
  destroy(): void;
}

/** A dead master's successor is looked for this often; node-redis's default of 5 s keeps its slots away for as long. */
const TOPOLOGY_REFRESH_MS = 500;

export function createConnection(target: RedisTarget, events: ConnectionEvents, logger: Logger): RedisConnection {
  return target.topology === 'cluster'
    ? new ClusterConnection(target, events, logger)
    : new StandaloneConnection(target, events, logger);
}

/** Names a target in logs, without credentials. */
export function describeTarget(target: RedisTarget): string {
  if (target.topology === 'cluster') return target.seeds.map(({ host, port }) => `${host}:${String(port)}`).join(',');
  return 'socketPath' in target ? `unix:${target.socketPath}` : `${target.host}:${String(target.port)}`;
}

export type StandaloneTarget = Extract<RedisTarget, { topology: 'standalone' }>;
export type ClusterTarget = Extract<RedisTarget, { topology: 'cluster' }>;

/** A client of one server. `clientSideCache` is not used to cache: it is node-redis's only way to pushes of tracked keys. */
export function createStandaloneClient(target: StandaloneTarget, clientSideCache?: BasicClientSideCache) {
  const address =
    'socketPath' in target
      ? { path: target.socketPath, tls: false as const }
      : { host: target.host, port: target.port };
  return createClient({
    ...clientOptions(target),
    commandOptions,
    ...(clientSideCache === undefined ? {} : { clientSideCache }),
    database: target.database,
    socket: { ...socketOptions(target, 'host' in target ? target.host : undefined), ...address } as NonNullable<
      Parameters<typeof createClient>[0]
    >['socket'] &
      object,
  });
}

class StandaloneConnection implements RedisConnection {
  readonly topology = 'standalone';
  private readonly client: ReturnType<typeof createStandaloneClient>;
  private readonly address: string;
  private readonly outages: OutageLog;
  private connectedTimes = 0;
  private closed = false;

  constructor(
    target: StandaloneTarget,
    private readonly events: ConnectionEvents,
    logger: Logger,
  ) {
    this.client = createStandaloneClient(target);
    const address = describeTarget(target);
    this.outages = new OutageLog(logger);
    this.address = address;
    this.client
      .on('error', (error: Error) => {
        this.outages.failed(address, error, 'redis connection error');
        // a refused keep-alive is an error too, and leaves the connection as it is
        if (!this.client.isReady) events.onStateChange(false);
      })
      .on('reconnecting', () => {
        events.onStateChange(false);
      })
      .on('end', () => {
        events.onStateChange(false);
      })
      .on('ready', () => {
        this.connectedTimes++;
        this.outages.connected(address);
        logger.info({ address }, 'redis connected');
        this.prepare();
      });
  }

  private prepare(): void {
    const { address, events, connectedTimes } = this;
    prepareNode({
      prepare: () => events.onNodeReady((command) => this.send(undefined, command), address),
      isConnected: () => this.client.isReady && !this.closed && connectedTimes === this.connectedTimes,
      onPrepared: () => {
        events.onStateChange(true);
      },
      onError: (error) => {
        this.outages.failed(address, error, 'redis node not usable');
        events.onStateChange(false);
      },
    });
  }

  recheck(): void {
    if (this.client.isReady) this.prepare();
  }

  connect(): void {
    // pending while Redis is away; it rejects only when closed before it ever connected
    this.client.connect().catch(() => undefined);
  }

  send(_routingKey: string | undefined, command: readonly ScriptArg[]): Promise<unknown> {
    return this.client.sendCommand(command);
  }

  masters(): readonly MasterNode[] {
    const { address, connectedTimes } = this;
    return [{ address, connectedTimes, send: (command) => this.send(undefined, command) }];
  }

  async close(): Promise<void> {
    this.closed = true;
    if (this.client.isReady) await closeInTime(this.client.close());
    this.destroy();
  }

  destroy(): void {
    this.closed = true;
    if (this.client.isOpen) this.client.destroy();
  }
}

interface NodeAddress {
  readonly host: string;
  readonly port: number;
}

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

class ClusterConnection implements RedisConnection {
  readonly topology = 'cluster';
  private client: ReturnType<typeof createClusterClient>;
  private readonly connectedNodes = new Set<string>();
  private readonly connectedTimes = new Map<string, number>();
  private readonly readyNodes = new Set<string>();
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
  ) {
    this.outages = new OutageLog(logger);
    this.address = describeTarget(target);
    this.client = this.createClient();
  }

  private createClient(): ReturnType<typeof createClusterClient> {
    const client = createClusterClient(this.target);
    const lost = ({ host, port }: NodeAddress): void => {
      const address = `${host}:${String(port)}`;
      this.connectedNodes.delete(address);
      this.readyNodes.delete(address);
      if (this.readyNodes.size === 0) this.events.onStateChange(false);
    };
    client
      .on('error', (error: Error) => {
        this.outages.failed(this.address, error, 'redis cluster error');
      })
      .on('node-error', (error: Error, node: NodeAddress) => {
        this.outages.failed(`${node.host}:${String(node.port)}`, error, 'redis connection error');
      })
      .on('node-reconnecting', lost)
      .on('node-disconnect', lost)
      .on('node-ready', (node: NodeAddress) => {
        this.nodeReady(node);
      });
    return client;
  }

  private nodeReady(node: NodeAddress): void {
    const address = `${node.host}:${String(node.port)}`;
    this.outages.connected(address);
    this.outages.connected(this.address);
    this.logger.info({ address }, 'redis connected');
    this.connectedNodes.add(address);
    this.connectedTimes.set(address, (this.connectedTimes.get(address) ?? 0) + 1);
    this.prepare(address);
  }

  private prepare(address: string): void {
    const times = this.connectedTimes.get(address);
    prepareNode({
      prepare: () => this.events.onNodeReady((command) => this.sendTo(address, command), address),
      isConnected: () => this.connectedNodes.has(address) && !this.closed && times === this.connectedTimes.get(address),
      onPrepared: () => {
        this.readyNodes.add(address);
        this.serveFirst();
      },
      onError: (error) => {
        this.outages.failed(address, error, 'redis node not usable');
        this.readyNodes.delete(address);
        if (this.readyNodes.size === 0) this.events.onStateChange(false);
      },
    });
  }

  recheck(): void {
    for (const address of this.connectedNodes) this.prepare(address);
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
    if (this.readyNodes.size > 0) await closeInTime(this.client.close());
    this.destroy();
  }

  destroy(): void {
    this.closed = true;
    if (this.client.isOpen) this.client.destroy();
  }
}
