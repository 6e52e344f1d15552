import type { Logger } from 'pino';
import { BasicClientSideCache, ClientOfflineError } from 'redis';
import { createStandaloneClient, describeTarget, type StandaloneTarget } from './connection.js';
import { PING_INTERVAL_MS, SOCKET_TIMEOUT_MS } from './client-options.js';
import type { ScriptArg } from './lua-script.js';
import { OutageLog } from './outage-log.js';

export interface PushEvents {
  /** A key that is tracked may have changed; no key: the whole database was emptied. */
  readonly onPush?: (key: string | undefined) => void;
  /** Redis took back the subscription of a channel, since its slot went elsewhere. Not always told: look at keep-alives. */
  readonly onMoved?: (channel: string) => void;
  /** The connection is there, for the first time or again: Redis tells of changes from now on. */
  readonly onReady?: () => void;
  /** The server answered a keep-alive, which it is sent every PING_INTERVAL_MS. */
  readonly onAlive: () => void;
  /** The connection is lost, or could not be made for the so-manyth time in a row: changes may have gone untold. */
  readonly onLost: (failedAttempts: number) => void;
}

/** node-redis hands the pushes of tracked keys to its client-side cache and to nobody else; this one caches nothing. */
class PushReceiver extends BasicClientSideCache {
  constructor(
    private readonly tracking: readonly string[],
    private readonly onPush: NonNullable<PushEvents['onPush']>,
  ) {
    super();
  }

  override trackingOn(): string[] {
    return ['CLIENT', 'TRACKING', 'ON', ...this.tracking];
  }

  override invalidate(key: string | Buffer | null): void {
    this.onPush(key === null ? undefined : key.toString());
  }
}

/**
 * Silence after which a connection counts as lost. node-redis's socketTimeout alone would not do: every write to the
 * socket starts it anew, so under load a silent Redis would go unnoticed until the kernel takes no more bytes.
 */
const SILENCE_MS = PING_INTERVAL_MS + SOCKET_TIMEOUT_MS;
/** A timer that comes so late tells of this process, not of Redis. */
const STALL_MS = 250;

/**
 * A connection over which one server pushes what is changed, or told on shard channels. It comes back by itself, until it
 * is closed.
 */
export class PushConnection {
  private readonly address: string;
  private readonly outages: OutageLog;
  private client: ReturnType<typeof createStandaloneClient>;
  private silence: NodeJS.Timeout | undefined;
  private failedAttempts = 0;
  private closed = false;
  /** Settled when the first connection is there, or could not be made; later ones are not waited for. */
  private firstAttempt: Promise<void> | undefined;

  /** `tracking`: what CLIENT TRACKING ON is told; undefined: no keys are tracked. */
  constructor(
    private readonly target: StandaloneTarget,
    private readonly tracking: readonly string[] | undefined,
    private readonly logger: Logger,
    private readonly events: PushEvents,
  ) {
    this.address = describeTarget(target);
    this.outages = new OutageLog(logger);
    this.client = this.createClient();
    const { client } = this;
    this.firstAttempt = new Promise<void>((resolve, reject) => {
      client.once('ready', resolve).once('error', reject).once('end', resolve);
    }).finally(() => {
      this.firstAttempt = undefined;
    });
    // whoever waits for it is told
    this.firstAttempt.catch(() => undefined);
    this.connect();
  }

  get isReady(): boolean {
    return this.client.isReady;
  }

  /** Waits for the first attempt to connect; throws what went wrong with it. */
  async attempted(): Promise<void> {
    if (this.firstAttempt !== undefined) await this.firstAttempt;
  }

  /** Throws what node-redis throws. */
  send(command: readonly ScriptArg[]): Promise<unknown> {
    return this.client.sendCommand(command);
  }

  /**
   * Resolves when the messages of a shard channel are told, which may be again already: the subscriptions of a connection
   * that was lost come back with it. Throws what node-redis throws, such as MOVED.
   */
  async subscribe(channel: string, onMessage: (message: Buffer) => void): Promise<void> {
    const { client } = this;
    // node-redis would keep it for later, and for ever where the client is closed
    if (!client.isReady) throw new ClientOfflineError();
    await client.sSubscribe(channel, onMessage, true);
    if (client !== this.client) throw new ClientOfflineError();
  }

  /** Takes the subscription back; `onMessage` is what it was made with. */
  unsubscribe(channel: string, onMessage: (message: Buffer) => void): void {
    // a server that is away, or has not got the slot any more, has no subscription either
    this.client.sUnsubscribe(channel, onMessage, true).catch(() => undefined);
  }

  /** Gives the connection up for another one, without subscriptions; tells of the loss. */
  renew(reason: string): void {
    if (!this.closed) this.reconnect(reason);
  }

  close(): void {
    this.closed = true;
    clearTimeout(this.silence);
    this.client.destroy();
  }

  private createClient(): ReturnType<typeof createStandaloneClient> {
    const { tracking, events } = this;
    const receiver = tracking === undefined ? undefined : new PushReceiver(tracking, (key) => events.onPush?.(key));
    const client = createStandaloneClient(this.target, receiver);
    const isCurrent = (): boolean => client === this.client && !this.closed;
    client
      .on('ready', () => {
        if (!isCurrent()) return;
        this.failedAttempts = 0;
        this.outages.connected(this.address);
        this.logger.info({ address: this.address }, 'redis push connection ready');
        this.listenForSilence(client);
        this.events.onReady?.();
      })
      .on('ping-interval', () => {
        if (!isCurrent()) return;
        this.listenForSilence(client);
        this.events.onAlive();
      })
      .on('sharded-channel-moved', (channel: string) => {
        if (isCurrent()) this.events.onMoved?.(channel);
      })
      .on('error', (error: Error) => {
        if (!isCurrent()) return;
        this.outages.failed(this.address, error, 'redis push connection error');
        // what came over a connection that is up after an error was not all understood
        if (client.isReady) this.reconnect('redis push connection given up');
        else this.events.onLost(this.failedAttempts++);
      });
    return client;
  }

  private connect(): void {
    // pending while the node is away; it rejects only when closed before it ever connected
    this.client.connect().catch(() => undefined);
  }

  private reconnect(reason: string): void {
    this.logger.warn({ address: this.address }, reason);
    const { client } = this;
    this.client = this.createClient();
    client.destroy();
    this.connect();
    this.events.onLost(this.failedAttempts++);
  }

  private listenForSilence(client: ReturnType<typeof createStandaloneClient>): void {
    clearTimeout(this.silence);
    const dueAt = performance.now() + SILENCE_MS;
    this.silence = setTimeout(() => {
      if (!client.isReady || client !== this.client) return;
      // a process that stood still itself has not heard what came meanwhile, and has asked nothing
      if (performance.now() - dueAt > STALL_MS) this.listenForSilence(client);
      else this.reconnect('redis push connection is silent');
    }, SILENCE_MS).unref();
  }
}
