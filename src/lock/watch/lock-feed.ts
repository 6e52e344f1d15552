import { DomainError } from '../../errors.js';
import type { BroadcastEvents, KeyBroadcast } from '../../redis/broadcast.js';
import type { KeyTracking } from '../../redis/tracking.js';
import { KeySource } from '../../redis/watch/key-source.js';
import { PrefixSource } from '../../redis/watch/prefix-source.js';
import { TopicIndex } from '../../redis/watch/topic-index.js';
import { Topic, type Change, type ChangeSink, type TopicSource, type TopicWatcher } from '../../redis/watch/topic.js';

export interface LockFeedOptions {
  readonly tracking: Pick<KeyTracking, 'read'>;
  readonly createBroadcast: (events: BroadcastEvents) => KeyBroadcast;
}

export type WatchedKind = 'key' | 'prefix';

const MAX_TOPICS = 131_072;

/** All locks that are watched through this process, and by whom. Redis is asked for nothing while that is none. */
export class LockFeed implements ChangeSink {
  /** Open streams. */
  watchers = 0;
  private readonly topics = new TopicIndex();
  private readonly sources: Readonly<Record<WatchedKind, TopicSource>>;

  constructor({ tracking, createBroadcast }: LockFeedOptions) {
    this.sources = { key: new KeySource(tracking, this), prefix: new PrefixSource(createBroadcast, this) };
  }

  /** `name`: of a lock's key, or what keys begin with. Throws OVERLOADED where too much is watched already. */
  join(kind: WatchedKind, name: string, watcher: TopicWatcher): Topic {
    let topic = this.topics.get(kind, name);
    if (topic === undefined) {
      if (this.topics.size >= MAX_TOPICS) throw new DomainError('OVERLOADED', 'too much is watched already');
      topic = new Topic(kind, name);
      this.topics.add(topic);
      this.sources[kind].open(topic);
    }
    topic.watchers.add(watcher);
    return topic;
  }

  leave(topic: Topic, watcher: TopicWatcher): void {
    topic.watchers.delete(watcher);
    if (topic.watchers.size > 0) return;
    this.topics.delete(topic);
    this.sourceOf(topic).close(topic);
  }

  armed(topic: Topic): void {
    // there is no ring of changes that it could be a position of
    topic.since = 0;
    for (const watcher of topic.watchers) watcher.armed(topic);
  }

  lost(topic: Topic): void {
    topic.since = undefined;
    for (const watcher of topic.watchers) watcher.lost(topic);
  }

  changed(change: Change): void {
    for (const topic of this.topics.of(change)) for (const watcher of topic.watchers) watcher.tell(change);
  }

  private sourceOf({ kind }: Topic): TopicSource {
    return this.sources[kind === 'prefix' ? 'prefix' : 'key'];
  }
}
