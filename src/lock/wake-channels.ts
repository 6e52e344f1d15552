import { randomBytes } from 'node:crypto';
import { keys } from '../redis/keys.js';
import type { ShardChannels } from '../redis/shard-channels.js';

/** Who waits for a lock, or keeps one, as one lock token. None of these may throw. */
export interface WakeListener {
  /** The lock is given to the token. */
  readonly onGranted?: () => void;
  /** After so many ms something may change that nobody tells of; 0: never. */
  readonly onChangesIn?: (changesInMs: number) => void;
  /** The lock was taken from the token. */
  readonly onLost?: (message: string) => void;
  /** The lock was given back, with the token. */
  readonly onReleased?: () => void;
  /** What was told before may have got lost: look. */
  readonly onMissed: () => void;
}

/** A channel that is listened to as long as somebody needs it. */
export interface WakeChannel {
  readonly name: string;
  /** Whether what is told now arrives. A script takes a waiter out whose channel nobody hears. */
  readonly isHeard: boolean;
  /** Resolves when it is heard, which on a Redis that is away may be never. */
  readonly heard: Promise<void>;
  close(): void;
}

const GRANTED = 'G'.charCodeAt(0);
const CHANGES = 'T'.charCodeAt(0);
const LOST = 'L'.charCodeAt(0);
const RELEASED = 'R'.charCodeAt(0);
const LOCK_TOKEN_BYTES = 32;

class ListenedChannel {
  /** By lock token. */
  readonly listeners = new Map<string, Set<WakeListener>>();
  isHeard = false;
  heard: Promise<void>;
  stop: () => void = () => undefined;
  private tellHeard: () => void = () => undefined;

  constructor(readonly name: string) {
    this.heard = this.untilHeard();
  }

  add(lockToken: string, listener: WakeListener): void {
    const ofToken = this.listeners.get(lockToken);
    if (ofToken === undefined) this.listeners.set(lockToken, new Set([listener]));
    else ofToken.add(listener);
  }

  remove(lockToken: string, listener: WakeListener): void {
    const ofToken = this.listeners.get(lockToken);
    ofToken?.delete(listener);
    if (ofToken?.size === 0) this.listeners.delete(lockToken);
  }

  onSubscribed(): void {
    this.isHeard = true;
    this.tellHeard();
    for (const ofToken of [...this.listeners.values()]) for (const listener of [...ofToken]) listener.onMissed();
  }

  onLost(): void {
    if (this.isHeard) this.heard = this.untilHeard();
    this.isHeard = false;
  }

  onMessage(message: Buffer): void {
    const lockToken = message.toString('latin1', 1, 1 + LOCK_TOKEN_BYTES);
    for (const listener of [...(this.listeners.get(lockToken) ?? [])]) {
      if (message[0] === GRANTED) listener.onGranted?.();
      else if (message[0] === CHANGES) listener.onChangesIn?.(Number(message.toString('latin1', 1 + LOCK_TOKEN_BYTES)));
      else if (message[0] === LOST) listener.onLost?.(message.toString('utf8', 1 + LOCK_TOKEN_BYTES));
      else if (message[0] === RELEASED) listener.onReleased?.();
    }
  }

  private untilHeard(): Promise<void> {
    return new Promise((resolve) => {
      this.tellHeard = resolve;
    });
  }
}

/**
 * Where this process is told of its locks: on one Redis a single channel for all, kept from the first that waits; on Cluster,
 * where a script can publish only in its own slot, one for each lock that somebody here waits for or keeps.
 */
export class WakeChannels {
  private readonly instance = randomBytes(9).toString('base64url');
  private readonly channels = new Map<string, ListenedChannel>();

  constructor(
    private readonly source: ShardChannels,
    private readonly topology: 'standalone' | 'cluster',
  ) {}

  /** Whether what is told now of a lock that nobody here waits for yet would arrive. */
  isHeard(namespace: string): boolean {
    return this.topology === 'standalone' && this.channels.get(this.sharedName(namespace))?.isHeard === true;
  }

  /** Where this process is told of a lock. `lock`: its key. */
  nameOf(namespace: string, lock: string): string {
    return this.topology === 'standalone' ? this.sharedName(namespace) : keys.lockWake(lock, this.instance);
  }

  /** `lock`: the key of the lock. */
  open(namespace: string, lock: string, lockToken: string, listener: WakeListener): WakeChannel {
    const isShared = this.topology === 'standalone';
    const name = this.nameOf(namespace, lock);
    const channel = this.channels.get(name) ?? this.listen(name);
    channel.add(lockToken, listener);
    return {
      name,
      get isHeard() {
        return channel.isHeard;
      },
      get heard() {
        return channel.heard;
      },
      close: () => {
        channel.remove(lockToken, listener);
        if (isShared || channel.listeners.size > 0 || this.channels.get(name) !== channel) return;
        this.channels.delete(name);
        channel.stop();
      },
    };
  }

  private sharedName(namespace: string): string {
    return keys.lockWakes(namespace, this.instance);
  }

  private listen(name: string): ListenedChannel {
    const channel = new ListenedChannel(name);
    this.channels.set(name, channel);
    channel.stop = this.source.listen(name, {
      onSubscribed: () => {
        channel.onSubscribed();
      },
      onMessage: (message) => {
        channel.onMessage(message);
      },
      onLost: () => {
        channel.onLost();
      },
    });
    return channel;
  }
}
