import type { ShardChannels } from '../redis/shard-channels.js';
import { channelOf } from './limit-scripts.js';

/** Somebody who is told of subjects that may be admitted again. None of these may throw. */
export interface StandingListener {
  /** `standing`: the key of the subject's standing. */
  readonly onRoomMade: (standing: string) => void;
  /** From now on that is told; before, it may not have been. */
  readonly onHeard: (channel: StandingChannel) => void;
  readonly onLost: (channel: StandingChannel) => void;
}

/** A channel with the subjects that need it. */
export interface StandingChannel {
  readonly name: string;
  readonly isHeard: boolean;
  readonly standings: ReadonlySet<string>;
}

class ListenedChannel implements StandingChannel {
  readonly standings = new Set<string>();
  isHeard = false;
  stop: () => void = () => undefined;
  constructor(readonly name: string) {}
}

/**
 * Where this process is told of subjects that may be admitted again: on one Redis a single channel for all, kept from the first
 * that is denied; on Cluster, where a script can publish only in its own slot, one for each that is denied here.
 */
export class StandingChannels {
  private readonly channels = new Map<string, ListenedChannel>();

  constructor(
    private readonly source: Pick<ShardChannels, 'listen'>,
    readonly topology: 'standalone' | 'cluster',
    private readonly listener: StandingListener,
  ) {}

  open(namespace: string, standing: string): StandingChannel {
    const name = channelOf(this.topology, namespace, standing);
    const channel = this.channels.get(name) ?? this.listen(name);
    channel.standings.add(standing);
    return channel;
  }

  close(name: string, standing: string): void {
    const channel = this.channels.get(name);
    channel?.standings.delete(standing);
    if (channel === undefined || channel.standings.size > 0 || this.topology === 'standalone') return;
    this.channels.delete(name);
    channel.stop();
  }

  private listen(name: string): ListenedChannel {
    const channel = new ListenedChannel(name);
    this.channels.set(name, channel);
    channel.stop = this.source.listen(name, {
      onSubscribed: () => {
        channel.isHeard = true;
        this.listener.onHeard(channel);
      },
      onMessage: (message) => {
        this.listener.onRoomMade(message.toString('utf8'));
      },
      onLost: () => {
        channel.isHeard = false;
        this.listener.onLost(channel);
      },
    });
    return channel;
  }
}
