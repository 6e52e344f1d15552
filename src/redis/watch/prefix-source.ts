import type { BroadcastEvents, KeyBroadcast } from '../broadcast.js';
import type { ChangeSink, Topic, TopicSource } from './topic.js';

/** Beginnings of keys, by BCAST tracking while there are any. */
export class PrefixSource implements TopicSource {
  private readonly topics = new Set<Topic>();
  private readonly broadcast: KeyBroadcast;
  private isFollowing = false;

  constructor(
    createBroadcast: (events: BroadcastEvents) => KeyBroadcast,
    private readonly sink: ChangeSink,
  ) {
    this.broadcast = createBroadcast({
      onPush: (key) => {
        if (key !== undefined) this.sink.changed({ kind: 'key', topics: 'prefix', name: key });
        else this.resync();
      },
      onInForce: () => {
        this.armAll();
      },
      onLost: () => {
        this.loseAll();
      },
    });
  }

  open(topic: Topic): void {
    this.topics.add(topic);
    if (this.broadcast.covers(topic.name)) this.sink.armed(topic);
    this.followSoon();
  }

  close(topic: Topic): void {
    this.topics.delete(topic);
    this.followSoon();
  }

  /** Once for all prefixes of a request. */
  private followSoon(): void {
    if (this.isFollowing) return;
    this.isFollowing = true;
    queueMicrotask(() => {
      this.isFollowing = false;
      this.follow();
    });
  }

  private follow(): void {
    this.broadcast.follow([...this.topics].map(({ name }) => name));
  }

  private armAll(): void {
    for (const topic of this.topics) {
      if (topic.since === undefined && this.broadcast.covers(topic.name)) this.sink.armed(topic);
    }
  }

  private loseAll(): void {
    for (const topic of this.topics) if (topic.since !== undefined) this.sink.lost(topic);
  }

  /** After a change of keys that nobody knows. */
  private resync(): void {
    this.loseAll();
    this.armAll();
  }
}
