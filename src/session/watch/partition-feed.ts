import { performance } from 'node:perf_hooks';
import type { ChannelListener } from '../../redis/channel-source.js';
import type { ReadEventsReply } from '../watch-scripts.js';
import type { Place } from './cursor.js';
import { endPosition, isBehind, readPage, type Position } from './position.js';
import { compareStreamIds, type SessionEvent } from './session-event.js';

/** A stream that watches sessions of a partition. None of these may throw. */
export interface PartitionWatcher {
  /** What happens from now on is told. */
  joined(feed: PartitionFeed): void;
  /** Events in order, those of others among them; and where they begin. */
  told(feed: PartitionFeed, events: readonly SessionEvent[], before: Position): void;
  /** Some events cannot be told; those from now on are. */
  lost(feed: PartitionFeed): void;
}

export interface PartitionFeedOptions {
  readonly partition: number;
  readonly readEvents: (position: Position | undefined) => Promise<ReadEventsReply>;
  readonly readCreatedCount: () => Promise<number>;
  /** Wakes on what happens in the partition, until the function that it answers is called. */
  readonly listen: (listener: ChannelListener) => () => void;
  /** Called with how old an event was when it was read. */
  readonly onEventAge: (ageMs: number) => void;
  /** How long two reads are apart at least. */
  readonly restMs: () => number;
  /** How long a partition in which nothing happens is left alone. */
  readonly pollMs: () => number;
}

/** As in `lua/lib/event-retention.lua`: who knows nothing of as long cannot tell whether something is missing. */
export const RETENTION_MS = 600_000;
/** After a read that failed, and while it is not known where the events are. */
const RETRY_MS = 1_000;

/** The events of one partition, read once for all who watch it. */
export class PartitionFeed {
  readonly partition: number;
  /** When the next look is due that nobody asks for, on the clock of `performance.now()`. */
  pollAt = Number.POSITIVE_INFINITY;
  private readonly watchers = new Set<PartitionWatcher>();
  /** Watchers that know of more than was read for all: to where. */
  private readonly ahead = new Map<PartitionWatcher, Position>();
  private known: Position | undefined;
  private createdCount: number | undefined;
  private isReading = false;
  private isPoked = false;
  /** Whether the next read looks whether Redis still has what it had. */
  private checksCreated = true;
  private restTimer: NodeJS.Timeout | undefined;
  private readAt = Number.NEGATIVE_INFINITY;
  private readonly stopListening: () => void;
  private closed = false;

  constructor(private readonly options: PartitionFeedOptions) {
    this.partition = options.partition;
    this.pollAt = performance.now() + RETRY_MS;
    this.stopListening = options.listen({
      onSubscribed: () => {
        this.poll();
      },
      onMessage: () => {
        this.poke();
      },
    });
  }

  /** Up to where events were told to those who joined; undefined: nothing is known yet. */
  get place(): Place | undefined {
    const { known, createdCount } = this;
    return known === undefined || createdCount === undefined ? undefined : { ...known, createdCount };
  }

  /** Up to where events were told to a watcher that joined. */
  placeOf(watcher: PartitionWatcher): Place | undefined {
    const { place } = this;
    return place === undefined ? undefined : { ...place, ...this.ahead.get(watcher) };
  }

  /** Tells a watcher from now on; `joined` comes at once, or when it is known where the events are. */
  join(watcher: PartitionWatcher): void {
    this.watchers.add(watcher);
    if (this.known !== undefined) watcher.joined(this);
  }

  /** Tells a watcher that knows all up to a position; answers false where it knows too little yet. */
  joinAt(watcher: PartitionWatcher, position: Position): boolean {
    if (this.known === undefined || isBehind(position, this.known)) return false;
    if (isBehind(this.known, position)) this.ahead.set(watcher, position);
    this.join(watcher);
    return true;
  }

  leave(watcher: PartitionWatcher): void {
    this.watchers.delete(watcher);
    this.ahead.delete(watcher);
  }

  /** Something may have happened. However often that is said, reads are `restMs` apart. */
  poke(): void {
    if (this.closed) return;
    this.isPoked = true;
    if (this.isReading || this.restTimer !== undefined) return;
    const restMs = this.readAt + this.options.restMs() - performance.now();
    if (restMs <= 0) void this.read();
    else {
      this.restTimer = setTimeout(() => {
        this.restTimer = undefined;
        void this.read();
      }, restMs).unref();
    }
  }

  /** Looks for what was not told by a poke, also whether Redis lost something. */
  poll(): void {
    this.checksCreated = true;
    this.poke();
  }

  close(): void {
    this.closed = true;
    clearTimeout(this.restTimer);
    this.stopListening();
  }

  private async read(): Promise<void> {
    const { options, checksCreated } = this;
    this.isReading = true;
    this.isPoked = this.checksCreated = false;
    this.readAt = performance.now();
    try {
      const [reply, createdCount] = await Promise.all([
        options.readEvents(this.known),
        checksCreated ? options.readCreatedCount() : this.createdCount,
      ]);
      this.pollAt = performance.now() + options.pollMs();
      if (!this.closed) this.take(reply, createdCount ?? 0);
    } catch {
      // what went wrong is logged where it did
      this.checksCreated ||= checksCreated;
      this.pollAt = performance.now() + RETRY_MS;
    }
    this.readAgainWhenPoked();
  }

  private readAgainWhenPoked(): void {
    this.isReading = false;
    if (this.isPoked) this.poke();
  }

  private take(reply: ReadEventsReply, createdCount: number): void {
    const before = this.known;
    const isFirst = before === undefined;
    const isOld = before !== undefined && reply.nowMs - before.asOfMs > RETENTION_MS;
    const isLost = reply.status === 'lost' || isOld || createdCount < (this.createdCount ?? 0);
    this.createdCount = createdCount;
    if (before === undefined || reply.status !== 'events') {
      // only the first read asks for the end, and is told of nothing else
      this.known = reply.status === 'events' ? before : endPosition(reply);
      if (isFirst) for (const watcher of [...this.watchers]) watcher.joined(this);
    } else {
      const { events, position } = readPage(this.partition, before, reply);
      this.known = position;
      if (!isLost) this.tell(events, before);
      for (const { atMs } of events) this.options.onEventAge(Math.max(0, reply.nowMs - atMs));
      if (reply.more) this.isPoked = true;
    }
    if (isLost && !isFirst) this.tellLost();
  }

  private tell(events: readonly SessionEvent[], before: Position): void {
    if (events.length > 0) {
      for (const watcher of [...this.watchers]) {
        const ahead = this.ahead.get(watcher);
        const news = ahead === undefined ? events : events.filter(({ id }) => compareStreamIds(id, ahead.id) > 0);
        if (news.length > 0) watcher.told(this, news, ahead ?? before);
      }
    }
    for (const [watcher, position] of this.ahead) {
      if (this.known !== undefined && !isBehind(this.known, position)) this.ahead.delete(watcher);
    }
  }

  private tellLost(): void {
    this.ahead.clear();
    for (const watcher of [...this.watchers]) watcher.lost(this);
  }
}
