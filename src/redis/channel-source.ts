import type { PushConnection } from './push-connection.js';

/** Somebody who wants to be woken by what is published on a channel. None of these may throw. */
export interface ChannelListener {
  /**
   * From now on messages are told. Those before may not have been: whoever waits for something looks at it now. Called
   * again after each loss.
   */
  readonly onSubscribed: () => void;
  /** The message is a view of a larger buffer. It may come before `onSubscribed`. */
  readonly onMessage: (message: Buffer) => void;
  /** Messages may go untold, until `onSubscribed` is called again. */
  readonly onLost?: () => void;
}

/** A channel that somebody listens to. */
export interface Channel {
  readonly name: string;
  readonly slot: number;
  readonly onMessage: (message: Buffer) => void;
}

/** The server, or the servers, that have the channels. */
export interface ChannelSource {
  /** Resolves with the connection over which messages of the channel are told from now on. */
  subscribe(channel: Channel): Promise<PushConnection>;
  close(): void;
}

export interface ChannelSourceEvents {
  /** A server is there, for the first time or again. */
  readonly onReady: () => void;
  /** What was subscribed over a connection is told no more. */
  readonly onLost: (connection: PushConnection) => void;
  /** A channel went elsewhere with its slot. */
  readonly onMoved: (name: string) => void;
  /** The slots of the channels that are subscribed over a connection. */
  readonly slotsAt: (connection: PushConnection) => ReadonlySet<number>;
}
