import { performance } from 'node:perf_hooks';
import { Histogram } from '../../admin/histogram.js';
import { keys } from '../../redis/keys.js';
import type { ShardChannels } from '../../redis/shard-channels.js';
import type { SessionEventStore } from './event-store.js';
import { PartitionFeed } from './partition-feed.js';

export interface SessionFeedOptions {
  readonly store: SessionEventStore;
  readonly channels: Pick<ShardChannels, 'listen'>;
}

/** Upper bounds in milliseconds: what a poke tells takes some, what a poll finds some thousand. */
const AGE_BUCKETS_MS = [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000];
const TICK_MS = 250;
/** How often a partition is looked at without a poke; many are looked at more seldom. */
const POLL_MS = 5_000;
const POLL_MANY_MS = 10_000;
const MANY_FEEDS = 64;
/** Two reads of a partition are so far apart for each partition that is read, so that a process makes 4,000 a second. */
const REST_A_FEED_MS = 0.25;
const MIN_REST_MS = 5;

/** All partitions that are watched through this process. */
export class SessionFeed {
  /** Streams that watch now. */
  watchers = 0;
  /** How often a stream was told to read what it watches anew. */
  resyncs = 0;
  /** How old events were when they were read for those who watch. */
  readonly eventAges = new Histogram(AGE_BUCKETS_MS);
  private readonly feeds = new Map<string, { readonly feed: PartitionFeed; users: number }>();
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly options: SessionFeedOptions) {}

  /** Opens the feed of a partition for one more, who must close it. */
  open(namespace: string, partition: number): PartitionFeed {
    const { events } = keys.sessions(namespace, partition);
    let entry = this.feeds.get(events);
    if (entry === undefined) {
      entry = { feed: this.createFeed(namespace, partition, events), users: 0 };
      this.feeds.set(events, entry);
      this.timer ??= setInterval(() => {
        this.tick();
      }, TICK_MS).unref();
    }
    entry.users++;
    return entry.feed;
  }

  close(namespace: string, partition: number): void {
    const { events } = keys.sessions(namespace, partition);
    const entry = this.feeds.get(events);
    if (entry === undefined || --entry.users > 0) return;
    entry.feed.close();
    this.feeds.delete(events);
    if (this.feeds.size > 0) return;
    clearInterval(this.timer);
    this.timer = undefined;
  }

  private createFeed(namespace: string, partition: number, channel: string): PartitionFeed {
    const { store, channels } = this.options;
    return new PartitionFeed({
      partition,
      readEvents: (position) => store.readEvents(namespace, partition, position),
      readCreatedCount: () => store.readCreatedCount(namespace, partition),
      listen: (listener) => channels.listen(channel, listener),
      onEventAge: (ageMs) => {
        this.eventAges.add(ageMs);
      },
      restMs: () => Math.max(MIN_REST_MS, this.feeds.size * REST_A_FEED_MS),
      pollMs: () => this.pollMs,
    });
  }

  private get pollMs(): number {
    return this.feeds.size > MANY_FEEDS ? POLL_MANY_MS : POLL_MS;
  }

  /** Those that became due together are spread out. */
  private tick(): void {
    const now = performance.now();
    let left = Math.ceil((2 * this.feeds.size * TICK_MS) / this.pollMs);
    for (const { feed } of this.feeds.values()) {
      if (feed.pollAt > now) continue;
      feed.pollAt = Number.POSITIVE_INFINITY;
      feed.poll();
      if (--left === 0) return;
    }
  }
}
