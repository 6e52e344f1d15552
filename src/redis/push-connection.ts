import type { Logger } from 'pino';
import { BasicClientSideCache } from 'redis';
import { PING_INTERVAL_MS, SOCKET_TIMEOUT_MS } from './client-options.js';
import {
  createStandaloneClient,
  describeTarget,
  type ServerClient,
  type ServerTarget,
  type StandaloneTarget,
} from './connection.js';
import type { ScriptArg } from './lua-script.js';
import { OutageLog } from './outage-log.js';
import { offline, ServerLink } from './server-link.js';

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

/** Left by this service, which has told why. */
class GivenUpError extends Error {
  override readonly name = 'GivenUpError';
}

/**
 * A connection over which one server pushes what is changed, or told on shard channels. It comes back by itself, until it
 * is closed.
 */
export class PushConnection {
  private readonly outages: OutageLog;
  private address: string;
  private readonly link: ServerLink;
  private silence: NodeJS.Timeout | undefined;
  private closed = false;
  /** Settled when the first connection is there, or could not be made; later ones are not waited for. */
  private firstAttempt: Promise<void> | undefined;
  private settleFirst: (failure?: Error) => void = () => undefined;

  /** `tracking`: what CLIENT TRACKING ON is told; undefined: no keys are tracked. */
  constructor(
    target: ServerTarget,
    private readonly tracking: readonly string[] | undefined,
    private readonly logger: Logger,
    private readonly events: PushEvents,
  ) {
    this.outages = new OutageLog(logger);
    this.address = describeTarget(target);
    this.firstAttempt = new Promise<void>((resolve, reject) => {
      this.settleFirst = (failure) => {
        this.firstAttempt = undefined;
        if (failure === undefined) resolve();
        else reject(failure);
      };
    });
    // whoever waits for it is told
    this.firstAttempt.catch(() => undefined);
    this.link = new ServerLink(
      target,
      {
        createClient: (place) => this.createClient(place),
        onConnected: (client, address) => {
          this.address = address;
          this.outages.connected(address);
          this.logger.info({ address }, 'redis push connection ready');
          this.listenForSilence(client);
          this.settleFirst();
          this.events.onReady?.();
        },
        onLost: (error, address, failedAttempts) => {
          if (!(error instanceof GivenUpError)) this.outages.failed(address, error, 'redis push connection error');
          this.settleFirst(error instanceof Error ? error : new Error(String(error)));
          this.events.onLost(failedAttempts);
        },
        // what came over a connection that is up after an error was not all understood
        onError: (error) => {
          this.link.renew(error);
        },
      },
      logger,
    );
    this.link.open();
  }

  get isReady(): boolean {
    return this.link.client?.isReady === true;
  }

  /** Waits for the first attempt to connect; throws what went wrong with it. */
  async attempted(): Promise<void> {
    if (this.firstAttempt !== undefined) await this.firstAttempt;
  }

  /** Throws what node-redis throws. */
  send(command: readonly ScriptArg[]): Promise<unknown> {
    return this.link.client?.sendCommand(command) ?? offline(this.closed);
  }

  /** Resolves when the messages of a shard channel are told. Throws what node-redis throws, such as MOVED. */
  async subscribe(channel: string, onMessage: (message: Buffer) => void): Promise<void> {
    const { client } = this.link;
    if (client === undefined) return offline(this.closed);
    await client.sSubscribe(channel, onMessage, true);
    if (client !== this.link.client) await offline(this.closed);
  }

  /** Takes the subscription back; `onMessage` is what it was made with. */
  unsubscribe(channel: string, onMessage: (message: Buffer) => void): void {
    // a server that is away, or has not got the slot any more, has no subscription either
    this.link.client?.sUnsubscribe(channel, onMessage, true).catch(() => undefined);
  }

  /** Gives the connection up for another one, without subscriptions; tells of the loss. */
  renew(reason: string): void {
    if (!this.closed) this.reconnect(reason);
  }

  close(): void {
    this.closed = true;
    clearTimeout(this.silence);
    this.link.destroy();
    this.settleFirst();
  }

  private createClient(place: StandaloneTarget): ServerClient {
    const { tracking, events } = this;
    // a client that was given up says nothing more
    const isCurrent = (): boolean => client === this.link.client && !this.closed;
    const receiver =
      tracking === undefined
        ? undefined
        : new PushReceiver(tracking, (key) => {
            events.onPush?.(key);
          });
    const client: ServerClient = createStandaloneClient(place, receiver);
    client
      .on('ping-interval', () => {
        if (!isCurrent()) return;
        this.listenForSilence(client);
        events.onAlive();
      })
      .on('sharded-channel-moved', (channel: string) => {
        if (isCurrent()) events.onMoved?.(channel);
      });
    return client;
  }

  private reconnect(reason: string): void {
    this.logger.warn({ address: this.address }, reason);
    this.link.renew(new GivenUpError(reason));
  }

  private listenForSilence(client: ServerClient): void {
    clearTimeout(this.silence);
    const dueAt = performance.now() + SILENCE_MS;
    this.silence = setTimeout(() => {
      if (!client.isReady || client !== this.link.client) return;
      // a process that stood still itself has not heard what came meanwhile, and has asked nothing
      if (performance.now() - dueAt > STALL_MS) this.listenForSilence(client);
      else this.reconnect('redis push connection is silent');
    }, SILENCE_MS).unref();
  }
}
