import type { Logger } from 'pino';
import type { ServerTarget } from './connection.js';
import type { ScriptArg } from './lua-script.js';
import { PushConnection, type PushEvents } from './push-connection.js';

/** What a tracked read answers. */
export interface TrackedRead {
  /** Bytes, or null where there is nothing. The bytes are a view of a larger buffer: copy what is kept. */
  readonly value: unknown;
  /** False where nothing tells of changes now, such as while the key's Cluster slot moves; the listener was called. */
  readonly tracked: boolean;
  /** Forgets the listener: it is not called any more. */
  readonly stop: () => void;
}

export type TrackedNodeEvents = Pick<PushEvents, 'onAlive' | 'onLost'>;

/** The listeners of a key, mostly one. */
interface Listener {
  readonly onChange: () => void;
  next: Listener | undefined;
}

/**
 * One server's keys, read and tracked over a connection of its own. Pushes come over the connection that read the key,
 * in order with its replies; so a listener that is there before the read is sent misses nothing.
 */
export class TrackedNode {
  private readonly listeners = new Map<string, Listener>();
  private readonly connection: PushConnection;

  /** When `onLost` is called the listeners have been. */
  constructor(target: ServerTarget, logger: Logger, { onAlive, onLost }: TrackedNodeEvents) {
    this.connection = new PushConnection(target, ['OPTIN'], logger, {
      onPush: (key) => {
        if (key === undefined) this.tell();
        else this.changed(key);
      },
      onAlive,
      onLost: (failedAttempts) => {
        this.tell();
        onLost(failedAttempts);
      },
    });
  }

  get isReady(): boolean {
    return this.connection.isReady;
  }

  /** See KeyTracking. Throws what node-redis throws. */
  async read(key: string, onChange: () => void, command: readonly string[]): Promise<TrackedRead> {
    await this.connection.attempted();
    const listener = this.listen(key, onChange);
    const stop = (): void => {
      this.forget(key, listener);
    };
    try {
      // made in one turn, they are adjacent in node-redis's queue and on the wire: the first is for the next command only
      const [, value] = await Promise.all([
        this.connection.send(['CLIENT', 'CACHING', 'YES']),
        this.connection.send(command),
      ]);
      return { value, tracked: true, stop };
    } catch (error) {
      stop();
      throw error;
    }
  }

  /** Reads a key whose slot is on its way to this node; it cannot be tracked, since ASKING too is for the next command only. */
  async readAsking(command: readonly string[]): Promise<unknown> {
    await this.connection.attempted();
    const [, value] = await Promise.all([this.connection.send(['ASKING']), this.connection.send(command)]);
    return value;
  }

  send(command: readonly ScriptArg[]): Promise<unknown> {
    return this.connection.send(command);
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

  close(): void {
    this.connection.close();
    this.tell();
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
