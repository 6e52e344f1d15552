import type { Logger } from 'pino';
import { closeInTime } from './close-in-time.js';
import {
  createStandaloneClient,
  describeTarget,
  type ConnectionEvents,
  type ConnectionOptions,
  type ConnectionStatus,
  type MasterNode,
  type RedisConnection,
  type ServerClient,
  type ServerTarget,
} from './connection.js';
import { Heartbeat } from './heartbeat.js';
import type { ScriptArg } from './lua-script.js';
import { OutageLog } from './outage-log.js';
import { prepareNode } from './prepare-node.js';
import { ReplicaBarrier } from './replica-barrier.js';
import { offline, ServerLink } from './server-link.js';

/** Given up since it answered nothing. */
export class SilentNodeError extends Error {
  override readonly name = 'SilentNodeError';
  constructor(timeoutMs: number) {
    super(`nothing was answered for ${String(timeoutMs)} ms`);
  }
}

/** A server that says that it is a replica is left at most this often. */
const DISTRUST_MS = 1_000;

/** The connection to one server at a time: a standalone one, or the master that sentinels tell of. */
export class ServerConnection implements RedisConnection {
  readonly topology = 'standalone';
  private readonly link: ServerLink;
  private readonly outages: OutageLog;
  private client: ServerClient | undefined;
  private address: string;
  private connectedTimes = 0;
  private heartbeat: Heartbeat | undefined;
  private barrier: ReplicaBarrier | undefined;
  private isCircuitOpen = false;
  private distrustedAt = Number.NEGATIVE_INFINITY;
  private closed = false;

  constructor(
    target: ServerTarget,
    private readonly events: ConnectionEvents,
    private readonly logger: Logger,
    private readonly options: ConnectionOptions,
  ) {
    this.address = describeTarget(target);
    this.outages = new OutageLog(logger);
    this.link = new ServerLink(
      target,
      {
        createClient: createStandaloneClient,
        onConnected: (client, address) => {
          this.connected(client, address);
        },
        onLost: (error, address) => {
          this.lost();
          this.outages.failed(address, error, 'redis connection error');
        },
        // such as a refused keep-alive
        onError: (error, address) => {
          this.outages.failed(address, error, 'redis connection error');
        },
      },
      logger,
    );
  }

  get status(): ConnectionStatus {
    return { openCircuits: this.isCircuitOpen ? 1 : 0, reconnects: Math.max(0, this.connectedTimes - 1) };
  }

  connect(): void {
    this.link.open();
  }

  send(_routingKey: string | undefined, command: readonly ScriptArg[]): Promise<unknown> {
    return this.client === undefined ? offline(this.closed) : this.client.sendCommand(command);
  }

  sendHeld(routingKey: string | undefined, command: readonly ScriptArg[]): Promise<unknown> {
    if (this.client === undefined) return offline(this.closed);
    return this.barrier?.send(command) ?? this.send(routingKey, command);
  }

  masters(): readonly MasterNode[] {
    const { address, connectedTimes } = this;
    return [{ address, connectedTimes, send: (command) => this.send(undefined, command) }];
  }

  recheck(): void {
    if (this.client !== undefined) this.prepare(this.client);
  }

  distrust(): void {
    const now = performance.now();
    if (now - this.distrustedAt < DISTRUST_MS) return;
    this.distrustedAt = now;
    this.link.distrust(new Error('the server is a replica'));
  }

  async close(): Promise<void> {
    this.closed = true;
    this.link.stop();
    this.heartbeat?.stop();
    if (this.client?.isReady === true) await closeInTime(this.client.close());
    this.destroy();
  }

  destroy(): void {
    this.closed = true;
    this.heartbeat?.stop();
    this.link.destroy();
    this.client = undefined;
  }

  private connected(client: ServerClient, address: string): void {
    this.client = client;
    this.address = address;
    this.connectedTimes++;
    this.outages.connected(address);
    this.logger.info({ address }, 'redis connected');
    this.listenForSilence(client);
    const { replicas } = this.options;
    if (replicas !== undefined) this.barrier = new ReplicaBarrier((command) => client.sendCommand(command), replicas);
    this.prepare(client);
  }

  private prepare(client: ServerClient): void {
    const { address } = this;
    prepareNode({
      prepare: () => this.events.onNodeReady((command) => client.sendCommand(command), address),
      isConnected: () => this.client === client && !this.closed,
      onPrepared: () => {
        this.isCircuitOpen = false;
        this.events.onStateChange(true);
      },
      onError: (error) => {
        this.outages.failed(address, error, 'redis node not usable');
        this.events.onStateChange(false);
      },
    });
  }

  private lost(): void {
    this.heartbeat?.stop();
    this.client = undefined;
    this.events.onStateChange(false);
  }

  private listenForSilence(client: ServerClient): void {
    const { timeoutMs } = this.options;
    if (timeoutMs === undefined) return;
    this.heartbeat?.stop();
    this.heartbeat = new Heartbeat(
      timeoutMs,
      () => client.sendCommand(['PING']),
      () => {
        this.isCircuitOpen = true;
        this.link.renew(new SilentNodeError(timeoutMs));
      },
    );
  }
}
