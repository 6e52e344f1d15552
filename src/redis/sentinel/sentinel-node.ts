import type { Logger } from 'pino';
import { createClient } from 'redis';
import { clientOptions, reconnectDelayMs, socketOptions } from '../client-options.js';
import type { Endpoint, SentinelTarget } from '../connection.js';
import { UnexpectedReplyError } from '../lua-script.js';
import { OutageLog } from '../outage-log.js';

/** Who the master is, as one sentinel sees it. */
export interface MasterView {
  readonly host: string;
  readonly port: number;
  /** Raised by each failover; of two views the one with the higher epoch is the newer. */
  readonly epoch: number;
}

export interface SentinelEvents {
  /** It is connected, or told of a failover: it is worth asking. */
  readonly onNews: () => void;
}

const SWITCHED = '+switch-master';

/** One sentinel, over a connection that comes back by itself. */
export class SentinelNode {
  private readonly client: ReturnType<typeof createSentinelClient>;
  private isSubscribed = false;

  constructor(
    endpoint: Endpoint,
    private readonly target: SentinelTarget,
    logger: Logger,
    events: SentinelEvents,
  ) {
    const address = `${endpoint.host}:${String(endpoint.port)}`;
    const outages = new OutageLog(logger);
    this.client = createSentinelClient(endpoint, target);
    this.client
      .on('error', (error: unknown) => {
        outages.failed(address, error, 'sentinel connection error');
      })
      .on('ready', () => {
        outages.connected(address);
        this.subscribe(events.onNews);
        events.onNews();
      });
    // pending while the sentinel is away; it rejects only when closed before it ever connected
    this.client.connect().catch(() => undefined);
  }

  get isReady(): boolean {
    return this.client.isReady;
  }

  /** Throws where it does not know the master, or is away. */
  async master(): Promise<MasterView> {
    return readView(await this.client.sendCommand(['SENTINEL', 'MASTER', this.target.masterName]));
  }

  close(): void {
    this.client.destroy();
  }

  /** Once; node-redis brings it back with the connection. */
  private subscribe(onNews: () => void): void {
    if (this.isSubscribed) return;
    this.isSubscribed = true;
    const listener = (message: string): void => {
      if (message.startsWith(`${this.target.masterName} `)) onNews();
    };
    this.client.subscribe(SWITCHED, listener).then(onNews, () => {
      this.isSubscribed = false;
    });
  }
}

function createSentinelClient(endpoint: Endpoint, target: SentinelTarget) {
  const { sentinelUsername: username, sentinelPassword: password } = target;
  return createClient({
    ...clientOptions({
      ...(username === undefined ? {} : { username }),
      ...(password === undefined ? {} : { password }),
    }),
    commandOptions: { timeout: 0 },
    socket: {
      ...socketOptions(target, endpoint.host),
      host: endpoint.host,
      port: endpoint.port,
      reconnectStrategy: reconnectDelayMs,
    } as NonNullable<Parameters<typeof createClient>[0]>['socket'] & object,
  });
}

function readView(reply: unknown): MasterView {
  const fields = fieldsOf(reply);
  const host = fields.get('ip') ?? '';
  const port = Number(fields.get('port'));
  const epoch = Number(fields.get('config-epoch'));
  if (host === '' || !(port > 0) || !Number.isSafeInteger(epoch)) {
    throw new UnexpectedReplyError('SENTINEL MASTER names no address');
  }
  return { host, port, epoch };
}

/** A map under RESP3, and under RESP2 a list of names and values. */
function fieldsOf(reply: unknown): ReadonlyMap<string, string> {
  if (Array.isArray(reply)) {
    const texts = reply.map(String);
    return new Map(texts.flatMap((name, at) => (at % 2 === 0 ? [[name, texts[at + 1] ?? ''] as const] : [])));
  }
  if (typeof reply !== 'object' || reply === null) throw new UnexpectedReplyError('SENTINEL MASTER is no map');
  return new Map(Object.entries(reply).map(([name, value]) => [name, String(value)]));
}
