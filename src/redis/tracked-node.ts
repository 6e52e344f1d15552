import type { Logger } from 'pino';
import { BasicClientSideCache } from 'redis';
import { createStandaloneClient, describeTarget, type StandaloneTarget } from './connection.js';
import { PING_INTERVAL_MS, SOCKET_TIMEOUT_MS } from './connection.js';
import type { ScriptArg } from './lua-script.js';

/** What a tracked read answers. */
export interface TrackedRead {
  /** Bytes, or null where there is nothing. The bytes are a view of a larger buffer: copy what is kept. */
  readonly value: unknown;
  /** Forgets the listener: it is not called any more. */
  readonly stop: () => void;
}

export interface TrackedNodeEvents {
  /** The node answered a keep-alive, which it is sent every PING_INTERVAL_MS. */
  readonly onAlive: () => void;
  /** The connection is lost, or could not be made for the so-manyth time in a row. Its listeners have been called. */
  readonly onLost: (failedAttempts: number) => void;
}

/** The listeners of a key, mostly one. */
interface Listener {
  readonly onChange: () => void;
  next: Listener | undefined;
}

/** node-redis hands the pushes of tracked keys to its client-side cache and to nobody else; this one caches nothing. */
class PushReceiver extends BasicClientSideCache {
  /** `onPush` gets no key when the whole database was emptied. */
  constructor(private readonly onPush: (key: string | undefined) => void) {
    super();
  }

  override trackingOn(): string[] {
    return ['CLIENT', 'TRACKING', 'ON', 'OPTIN'];
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
 * One server's keys, read and tracked over a connection of its own. Pushes come over the connection that read the key,
 * in order with its replies; so a listener that is there before the read is sent misses nothing.
 */
export class TrackedNode {
  private readonly listeners = new Map<string, Listener>();
  private readonly address: string;
  private client: ReturnType<typeof createStandaloneClient>;
  /** Settled when the first connection is there, or could not be made; later ones are not waited for. */
  private firstAttempt: Promise<void> | undefined;
  private silence: NodeJS.Timeout | undefined;
  private failedAttempts = 0;
  private closed = false;

  constructor(
    private readonly target: StandaloneTarget,
    private readonly logger: Logger,
    private readonly events: TrackedNodeEvents,
  ) {
    this.address = describeTarget(target);
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

  /** See KeyTracking. Throws what node-redis throws. */
  async read(key: string, onChange: () => void, command: readonly string[]): Promise<TrackedRead> {
    if (this.firstAttempt !== undefined) await this.firstAttempt;
    const listener = this.listen(key, onChange);
    const stop = (): void => {
      this.forget(key, listener);
    };
    try {
      // made in one turn, they are adjacent in node-redis's queue and on the wire: the first is for the next command only
      const [, value] = await Promise.all([
        this.client.sendCommand(['CLIENT', 'CACHING', 'YES']),
        this.client.sendCommand(command),
      ]);
      return { value, stop };
    } catch (error) {
      stop();
      throw error;
    }
  }

  /** Reads a key whose slot is on its way to this node; it cannot be tracked, since ASKING too is for the next command only. */
  async readAsking(command: readonly string[]): Promise<unknown> {
    if (this.firstAttempt !== undefined) await this.firstAttempt;
    const [, value] = await Promise.all([this.client.sendCommand(['ASKING']), this.client.sendCommand(command)]);
    return value;
  }

  send(command: readonly ScriptArg[]): Promise<unknown> {
    return this.client.sendCommand(command);
  }

  /** Calls, and forgets, the listeners of the keys that match; of all keys where nothing is given. */
  tell(matches?: (key: string) => boolean): void {
    const told: (Listener | undefined)[] = [];
    for (const [key, listener] of this.listeners) {
      if (matches?.(key) === false) continue;
      told.push(listener);
      this.listeners.delete(key);
    }
    told.forEach(callAll);
  }

  private listenForSilence(client: ReturnType<typeof createStandaloneClient>): void {
    clearTimeout(this.silence);
    const dueAt = performance.now() + SILENCE_MS;
    this.silence = setTimeout(() => {
      if (!client.isReady || client !== this.client) return;
      // a process that stood still itself has not heard what came meanwhile, and has asked nothing
      if (performance.now() - dueAt > STALL_MS) this.listenForSilence(client);
      else this.reconnect('redis tracking connection is silent');
    }, SILENCE_MS).unref();
  }

  close(): void {
    this.closed = true;
    clearTimeout(this.silence);
    this.client.destroy();
    this.tell();
  }

  private createClient(): ReturnType<typeof createStandaloneClient> {
    const receiver = new PushReceiver((key) => {
      if (key === undefined) this.tell();
      else this.changed(key);
    });
    const client = createStandaloneClient(this.target, receiver);
    client
      .on('ready', () => {
        this.failedAttempts = 0;
        this.logger.info({ address: this.address }, 'redis tracking connected');
        this.listenForSilence(client);
      })
      .on('ping-interval', () => {
        this.listenForSilence(client);
        this.events.onAlive();
      })
      .on('error', (error: Error) => {
        if (client !== this.client || this.closed) return;
        this.logger.warn({ address: this.address, err: error }, 'redis tracking connection error');
        // what came over a connection that is up after an error was not all understood
        if (client.isReady) this.reconnect('redis tracking connection given up');
        else this.lost();
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
    this.lost();
  }

  private lost(): void {
    this.tell();
    this.events.onLost(this.failedAttempts++);
  }

  private listen(key: string, onChange: () => void): Listener {
    const listener = { onChange, next: this.listeners.get(key) };
    this.listeners.set(key, listener);
    return listener;
  }

  private forget(key: string, listener: Listener): void {
    const first = this.listeners.get(key);
    if (first === listener) {
      if (listener.next === undefined) this.listeners.delete(key);
      else this.listeners.set(key, listener.next);
      return;
    }
    for (let other = first; other !== undefined; other = other.next) {
      if (other.next === listener) other.next = listener.next;
    }
  }

  private changed(key: string): void {
    const first = this.listeners.get(key);
    this.listeners.delete(key);
    callAll(first);
  }
}

function callAll(first: Listener | undefined): void {
  for (let listener = first; listener !== undefined; listener = listener.next) listener.onChange();
}
