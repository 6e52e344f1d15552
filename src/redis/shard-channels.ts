import calculateSlot from 'cluster-key-slot';
import type { Logger } from 'pino';
import { ChannelCluster } from './channel-cluster.js';
import type { Channel, ChannelListener, ChannelSource, ChannelSourceEvents } from './channel-source.js';
import type { RedisTarget } from './connection.js';
import { ErrorLog } from './error-log.js';
import { PushConnection } from './push-connection.js';

class ListenedChannel implements Channel {
  readonly slot: number;
  readonly listeners = new Set<ChannelListener>();
  /** Where it is subscribed. */
  connection: PushConnection | undefined;
  /** Whether a subscription is on its way. */
  isSought = false;

  constructor(readonly name: string) {
    this.slot = calculateSlot(name);
  }

  readonly onMessage = (message: Buffer): void => {
    for (const listener of [...this.listeners]) listener.onMessage(message);
  };

  tellSubscribed(): void {
    for (const listener of [...this.listeners]) listener.onSubscribed();
  }

  tellLost(): void {
    for (const listener of [...this.listeners]) listener.onLost?.();
  }
}

const RETRY_MS = 250;
/** While a server is away so many of its channels are tried again at a time, in turn. */
const MAX_TRIED_AGAIN = 64;
/** For those who come back; connecting takes longer than everything else here. */
const LINGER_MS = 10_000;

/**
 * Shard channels (SPUBLISH, SSUBSCRIBE), over connections that are open while somebody listens: one, on Cluster one a
 * master that has such channels.
 *
 * A message wakes; nobody may rely on it alone. What is published while a connection is down or a slot on its way is told
 * to nobody: so listeners look when they are told `onSubscribed`, and every now and then by themselves. A connection that
 * breaks is noticed at once, one that falls silent within three seconds, a master that is none any more within one.
 */
export class ShardChannels {
  private readonly channels = new Map<string, ListenedChannel>();
  /** To be subscribed again; those that were tried last are at the end. */
  private readonly lost = new Set<ListenedChannel>();
  private readonly errorLog: ErrorLog;
  private source: ChannelSource | undefined;
  private retryTimer: NodeJS.Timeout | undefined;
  private lingerTimer: NodeJS.Timeout | undefined;
  /** Whether all that are lost are tried again, since one was found. */
  private triesAll = false;
  private closed = false;

  constructor(
    private readonly target: RedisTarget,
    private readonly logger: Logger,
  ) {
    this.errorLog = new ErrorLog(logger);
  }

  /**
   * Listens to a channel until the function that it answers is called. Resolving nothing, it never fails: while Redis is
   * away it is tried again. Who listens to a channel that is subscribed already is told `onSubscribed` soon, not at once.
   */
  listen(name: string, listener: ChannelListener): () => void {
    if (this.closed) return () => undefined;
    clearTimeout(this.lingerTimer);
    let channel = this.channels.get(name);
    if (channel === undefined) {
      channel = new ListenedChannel(name);
      this.channels.set(name, channel);
    }
    const joined = channel;
    joined.listeners.add(listener);
    if (joined.connection === undefined) void this.seek(joined);
    else {
      queueMicrotask(() => {
        if (joined.connection !== undefined && joined.listeners.has(listener)) listener.onSubscribed();
      });
    }
    return () => {
      joined.listeners.delete(listener);
      this.dropUnheard(joined);
    };
  }

  /** Tells nobody anything any more. */
  close(): void {
    this.closed = true;
    clearTimeout(this.retryTimer);
    clearTimeout(this.lingerTimer);
    this.channels.clear();
    this.lost.clear();
    this.closeSource();
  }

  private async seek(channel: ListenedChannel): Promise<void> {
    if (channel.isSought || channel.connection !== undefined) return;
    channel.isSought = true;
    this.lost.delete(channel);
    this.source ??= this.openSource();
    try {
      channel.connection = await this.source.subscribe(channel);
      this.triesAll = true;
    } catch (error) {
      this.errorLog.record('SSUBSCRIBE', error);
      this.retryLater(channel);
    }
    channel.isSought = false;
    if (this.closed) return;
    this.dropUnheard(channel);
    if (channel.connection !== undefined) channel.tellSubscribed();
  }

  /** While a subscription is on its way its channel stays: another one of that name would come between. */
  private dropUnheard(channel: ListenedChannel): void {
    if (channel.listeners.size > 0 || channel.isSought || this.channels.get(channel.name) !== channel) return;
    this.channels.delete(channel.name);
    this.lost.delete(channel);
    channel.connection?.unsubscribe(channel.name, channel.onMessage);
    channel.connection = undefined;
    if (this.channels.size > 0) return;
    this.lingerTimer = setTimeout(() => {
      this.closeSource();
    }, LINGER_MS).unref();
  }

  private lose(channel: ListenedChannel): void {
    channel.connection = undefined;
    channel.tellLost();
    this.retryLater(channel);
  }

  private retryLater(channel: ListenedChannel): void {
    if (this.closed || channel.listeners.size === 0) return;
    this.lost.add(channel);
    this.retryTimer ??= setTimeout(() => {
      this.retryTimer = undefined;
      this.retry(this.triesAll ? this.lost.size : MAX_TRIED_AGAIN);
    }, RETRY_MS).unref();
  }

  private retry(count: number): void {
    this.triesAll = false;
    for (const channel of [...this.lost].slice(0, count)) void this.seek(channel);
    const [next] = this.lost;
    if (next !== undefined) this.retryLater(next);
  }

  private openSource(): ChannelSource {
    const { target, logger } = this;
    const events: ChannelSourceEvents = {
      onReady: () => {
        this.retry(this.lost.size);
      },
      onLost: (connection) => {
        for (const channel of [...this.channels.values()]) if (channel.connection === connection) this.lose(channel);
      },
      onMoved: (name) => {
        const channel = this.channels.get(name);
        if (channel?.connection === undefined) return;
        this.lose(channel);
        void this.seek(channel);
      },
      slotsAt: (connection) => {
        const here = [...this.channels.values()].filter((channel) => channel.connection === connection);
        return new Set(here.map(({ slot }) => slot));
      },
    };
    if (target.topology === 'cluster') return new ChannelCluster(target, logger, events);
    const connection: PushConnection = new PushConnection(target, undefined, logger, {
      onReady: events.onReady,
      onAlive: () => undefined,
      onLost: () => {
        events.onLost(connection);
      },
    });
    return {
      subscribe: async ({ name, onMessage }) => {
        await connection.attempted();
        await connection.subscribe(name, onMessage);
        return connection;
      },
      close: () => {
        connection.close();
      },
    };
  }

  private closeSource(): void {
    this.source?.close();
    this.source = undefined;
  }
}
