import { performance } from 'node:perf_hooks';
import { DomainError } from '../../errors.js';
import type { BroadcastEvents, KeyBroadcast } from '../../redis/broadcast.js';
import type { Redis } from '../../redis/redis.js';
import type { KeyTracking } from '../../redis/tracking.js';
import { ChangeRing } from './change-ring.js';
import { KeySource } from '../../redis/watch/key-source.js';
import { PrefixSource } from '../../redis/watch/prefix-source.js';
import { TagSource } from './tag-source.js';
import { TopicIndex } from '../../redis/watch/topic-index.js';
import {
  Topic,
  type Change,
  type ChangeSink,
  type TopicKind,
  type TopicSource,
  type TopicWatcher,
} from '../../redis/watch/topic.js';

export interface ChangeFeedOptions {
  readonly redis: Redis;
  readonly tracking: Pick<KeyTracking, 'read'>;
  readonly createBroadcast: (events: BroadcastEvents) => KeyBroadcast;
}

/** Of names of at most 600 bytes. */
const RING_CHANGES = 8_192;
const MAX_TOPICS = 131_072;
/** For a watcher that comes back. */
const LINGER_MS = 30_000;
const SWEEP_MS = 5_000;

/** All that is watched through this process, by whom, and what changed lately. */
export class ChangeFeed implements ChangeSink {
  readonly ring = new ChangeRing(RING_CHANGES);
  private readonly topics = new TopicIndex();
  private readonly sources: Readonly<Record<TopicKind, TopicSource>>;
  private sweepTimer: NodeJS.Timeout | undefined;

  constructor({ redis, tracking, createBroadcast }: ChangeFeedOptions) {
    this.sources = {
      key: new KeySource(tracking, this),
      prefix: new PrefixSource(createBroadcast, this),
      tag: new TagSource(redis, tracking, this),
    };
  }

  /** Throws OVERLOADED where too much is watched already. */
  join(kind: TopicKind, name: string, watcher: TopicWatcher): Topic {
    const topic = this.topics.get(kind, name) ?? this.open(kind, name);
    topic.watchers.add(watcher);
    return topic;
  }

  find(kind: TopicKind, name: string): Topic | undefined {
    return this.topics.get(kind, name);
  }

  /** `linger`: the watcher may come back soon and ask what it missed. */
  leave(topic: Topic, watcher: TopicWatcher, { linger }: { readonly linger: boolean }): void {
    topic.watchers.delete(watcher);
    if (topic.watchers.size > 0) return;
    topic.idleSince = performance.now();
    if (!linger) this.forget(topic);
    else
      this.sweepTimer ??= setInterval(() => {
        this.sweep(LINGER_MS);
      }, SWEEP_MS).unref();
  }

  close(): void {
    clearInterval(this.sweepTimer);
    for (const topic of this.topics.all()) this.forget(topic);
  }

  armed(topic: Topic): void {
    topic.since = this.ring.mark();
    for (const watcher of topic.watchers) watcher.armed(topic);
  }

  lost(topic: Topic): void {
    topic.since = undefined;
    for (const watcher of topic.watchers) watcher.lost(topic);
  }

  changed(change: Change): void {
    let isWatched = false;
    for (const topic of this.topics.of(change)) {
      isWatched = true;
      for (const watcher of topic.watchers) watcher.tell(change);
    }
    // a broadcast can bring more than was asked for
    if (isWatched) this.ring.push(change);
  }

  private open(kind: TopicKind, name: string): Topic {
    if (this.topics.size >= MAX_TOPICS) this.sweep(0);
    if (this.topics.size >= MAX_TOPICS) throw new DomainError('OVERLOADED', 'too much is watched already');
    const topic = new Topic(kind, name);
    this.topics.add(topic);
    this.sources[kind].open(topic);
    return topic;
  }

  private forget(topic: Topic): void {
    this.topics.delete(topic);
    this.sources[topic.kind].close(topic);
  }

  private sweep(idleMs: number): void {
    const before = performance.now() - idleMs;
    let idle = 0;
    for (const topic of this.topics.all()) {
      if (topic.watchers.size > 0) continue;
      if (topic.idleSince <= before) this.forget(topic);
      else idle++;
    }
    if (idle > 0) return;
    clearInterval(this.sweepTimer);
    this.sweepTimer = undefined;
  }
}
