import { setTimeout as sleep } from 'node:timers/promises';
import type { ReadEventsReply } from '../watch-scripts.js';
import type { Place } from './cursor.js';
import { RETENTION_MS, type PartitionFeed, type PartitionWatcher } from './partition-feed.js';
import { readPage, type Position } from './position.js';
import type { SessionEvent } from './session-event.js';

/** A partition, and up to where somebody who comes back was told. */
export interface Missed {
  readonly feed: PartitionFeed;
  readonly place: Place;
}

/** Who comes back. */
export interface ReturningWatcher extends PartitionWatcher {
  /** Events that were missed, and up to where all are known now. */
  caughtUp(feed: PartitionFeed, events: readonly SessionEvent[], position: Position): void;
  /** Resolves when there is room for a page of them. */
  room(): Promise<void>;
}

export interface CatchUpOptions {
  readonly readEvents: (partition: number, position: Position) => Promise<ReadEventsReply>;
  readonly readCreatedCount: (partition: number) => Promise<number>;
}

/** So many partitions are read at once; each brings a page. */
const AT_ONCE = 4;
/** While Redis is away. */
const RETRY_MS = 500;
/** While those who watch already have been told more. */
const BEHIND_MS = 20;

/** Reads for a watcher that comes back what it missed, until it can be told with all others. */
export class CatchUp {
  private readonly missed: Missed[];
  private stopped = false;

  constructor(
    missed: readonly Missed[],
    private readonly watcher: ReturningWatcher,
    private readonly options: CatchUpOptions,
  ) {
    this.missed = [...missed];
    for (let worker = 0; worker < AT_ONCE; worker++) void this.work();
  }

  stop(): void {
    this.stopped = true;
  }

  private isStopped(): boolean {
    return this.stopped;
  }

  private async work(): Promise<void> {
    for (;;) {
      // whoever makes it is not ready to be told before the turn is over
      await this.watcher.room();
      const next = this.isStopped() ? undefined : this.missed.shift();
      if (next === undefined) return;
      await this.follow(next);
    }
  }

  private async follow({ feed, place }: Missed): Promise<void> {
    let position: Position = place;
    let isFirst = true;
    while (!this.isStopped()) {
      await this.watcher.room();
      const read = await this.read(feed.partition, position).catch(() => undefined);
      if (this.isStopped()) return;
      if (read === undefined) {
        await sleep(RETRY_MS, undefined, { ref: false });
        continue;
      }
      const { reply, createdCount } = read;
      const isOld = isFirst && Math.abs(reply.nowMs - place.asOfMs) > RETENTION_MS;
      if (reply.status !== 'events' || isOld || createdCount < place.createdCount) {
        this.watcher.lost(feed);
        return;
      }
      isFirst = false;
      const page = readPage(feed.partition, position, reply);
      ({ position } = page);
      this.watcher.caughtUp(feed, page.events, position);
      if (reply.more) continue;
      if (feed.joinAt(this.watcher, position)) return;
      feed.poke();
      await sleep(BEHIND_MS, undefined, { ref: false });
    }
  }

  private async read(
    partition: number,
    position: Position,
  ): Promise<{ readonly reply: ReadEventsReply; readonly createdCount: number }> {
    const [reply, createdCount] = await Promise.all([
      this.options.readEvents(partition, position),
      this.options.readCreatedCount(partition),
    ]);
    return { reply, createdCount };
  }
}
