import type { ChannelListener } from '../../src/redis/channel-source.js';
import { until } from './redis-server.js';

/** Somebody who listens to a shard channel, and remembers what was told, in order. */
export class ChannelEar implements ChannelListener {
  readonly told: string[] = [];
  private seen = 0;

  readonly onSubscribed = (): void => {
    this.told.push('subscribed');
  };
  readonly onMessage = (message: Buffer): void => {
    this.told.push(`message ${message.toString()}`);
  };
  readonly onLost = (): void => {
    this.told.push('lost');
  };

  /** Waits until this is told, behind what was waited for before. */
  async until(what: string): Promise<void> {
    await until(() => this.told.includes(what, this.seen));
    this.seen = this.told.indexOf(what, this.seen) + 1;
  }
}
