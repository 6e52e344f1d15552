import { performance } from 'node:perf_hooks';
import { redisUnavailable } from '../../redis/errors.js';
import { CatchUp, type ReturningWatcher } from './catch-up.js';
import { decodeCursor, encodeCursor, type Place } from './cursor.js';
import type { SessionEventStore } from './event-store.js';
import type { PartitionFeed } from './partition-feed.js';
import { positionOf, type Position } from './position.js';
import type { Selection } from './selection.js';
import type { SessionEvent } from './session-event.js';
import type { SessionFeed } from './session-feed.js';

/** What a stream is told at once. */
export interface SessionNews {
  readonly events: readonly SessionEvent[];
  /** Some events cannot be told. */
  readonly resync: boolean;
  /** Undefined: the one that was told last still holds. */
  readonly cursor: Buffer | undefined;
}

/** A partition that is watched. */
interface Watched {
  readonly feed: PartitionFeed;
  /** Whether the feed tells of it. */
  isJoined: boolean;
  /** Until then: up to where the events are known; undefined: that is not known yet. */
  knownTo: Place | undefined;
  /** Events that wait to be told. */
  waiting: number;
  /** While there are any: up to where all were told. */
  toldTo: Position | undefined;
}

const MAX_EVENTS_AT_ONCE = 256;
/** Events that wait for a slow reader; beyond, it is told to read anew. */
const MAX_WAITING = 4_096;
/** Also how long a stream may take to begin. */
const CHECKPOINT_MS = 10_000;
/** A cursor of many partitions has kilobytes, and is told once a second. */
const MANY_PARTITIONS = 16;
const LARGE_CURSOR_MS = 1_000;

/** One stream of WatchSessions: what it watches, and what it has not been told yet. */
export class SessionWatcher implements ReturningWatcher {
  private readonly watched = new Map<number, Watched>();
  private readonly catchUp: CatchUp | undefined;
  /** In the order in which they are told. */
  private readonly waiting: SessionEvent[] = [];
  private resync = false;
  /** Whether a first response was told, when every partition was joined. */
  private hasBegun = false;
  private checkpointAt = performance.now() + CHECKPOINT_MS;
  private cursorDueAt = Number.NEGATIVE_INFINITY;
  private closed = false;
  private wake: () => void = () => undefined;
  private makeRoom: () => void = () => undefined;
  private untilRoom: Promise<void> | undefined;

  /** An empty cursor: what happens from now on. */
  constructor(
    private readonly selection: Selection,
    private readonly feed: SessionFeed,
    store: SessionEventStore,
    cursor: Buffer,
  ) {
    const { namespace, partitions } = selection;
    feed.watchers++;
    const places = cursor.length > 0 ? decodeCursor(selection, cursor) : undefined;
    for (const [index, partition] of partitions.entries()) {
      const ofPartition = { feed: feed.open(namespace, partition), knownTo: places?.[index] };
      this.watched.set(partition, { ...ofPartition, isJoined: false, waiting: 0, toldTo: undefined });
    }
    if (places === undefined) {
      if (cursor.length > 0) this.mustResync();
      this.joinAll();
      return;
    }
    const missed = [...this.watched.values()].flatMap(({ feed: ofPartition, knownTo }) =>
      knownTo === undefined ? [] : [{ feed: ofPartition, place: knownTo }],
    );
    this.catchUp = new CatchUp(missed, this, {
      readEvents: (partition, position) => store.readEvents(namespace, partition, position),
      readCreatedCount: (partition) => store.readCreatedCount(namespace, partition),
    });
  }

  joined(feed: PartitionFeed): void {
    const watched = this.watched.get(feed.partition);
    if (watched === undefined) return;
    watched.isJoined = true;
    if (!this.hasBegun) this.wake();
  }

  told(feed: PartitionFeed, events: readonly SessionEvent[], before: Position): void {
    const watched = this.watched.get(feed.partition);
    // who reads everything anew need not be told
    if (watched === undefined || this.resync || this.closed) return;
    const mine = events.filter((event) => this.selection.has(event));
    if (mine.length === 0) return;
    if (watched.waiting === 0) watched.toldTo = before;
    watched.waiting += mine.length;
    this.waiting.push(...mine);
    if (this.waiting.length > MAX_WAITING) this.lost();
    this.wake();
  }

  caughtUp(feed: PartitionFeed, events: readonly SessionEvent[], position: Position): void {
    const watched = this.watched.get(feed.partition);
    if (watched?.knownTo === undefined) return;
    this.told(feed, events, watched.knownTo);
    watched.knownTo = { ...watched.knownTo, ...position };
  }

  /** Nothing of what happened until now is told any more. */
  lost(): void {
    if (this.closed) return;
    this.mustResync();
    this.catchUp?.stop();
    this.joinAll();
    this.wake();
  }

  async room(): Promise<void> {
    while (!this.closed && this.waiting.length > MAX_EVENTS_AT_ONCE) {
      this.untilRoom ??= new Promise((resolve) => {
        this.makeRoom = resolve;
      });
      await this.untilRoom;
    }
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.catchUp?.stop();
    for (const [partition, { feed }] of this.watched) {
      feed.leave(this);
      this.feed.close(this.selection.namespace, partition);
    }
    this.feed.watchers--;
    this.giveRoom();
    this.wake();
  }

  /**
   * Waits until there is something to tell, or has been nothing for a while; undefined when the stream is closed. Throws
   * REDIS_UNAVAILABLE where it cannot begin.
   */
  async next(): Promise<SessionNews | undefined> {
    while (!this.closed && !this.hasNews) {
      const leftMs = this.checkpointAt - performance.now();
      if (leftMs > 0) await this.news(leftMs);
      else if (this.hasBegun) break;
      else throw redisUnavailable('Redis does not tell where the events are');
    }
    return this.closed ? undefined : this.take();
  }

  private get hasNews(): boolean {
    const isWaiting = this.waiting.length > 0 || this.resync;
    if (this.hasBegun) return isWaiting;
    const all = [...this.watched.values()];
    if (all.every(({ isJoined }) => isJoined)) return true;
    // those who come back are told what they missed while more of it is read
    return isWaiting && all.every(({ isJoined, knownTo }) => isJoined || knownTo !== undefined);
  }

  private news(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, timeoutMs).unref();
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  private joinAll(): void {
    for (const watched of [...this.watched.values()]) {
      if (watched.isJoined) continue;
      watched.knownTo = undefined;
      watched.feed.join(this);
    }
  }

  private mustResync(): void {
    if (!this.resync) this.feed.resyncs++;
    this.resync = true;
    this.waiting.length = 0;
    for (const watched of this.watched.values()) watched.waiting = 0;
    this.giveRoom();
  }

  private giveRoom(): void {
    this.untilRoom = undefined;
    this.makeRoom();
  }

  private take(): SessionNews {
    const now = performance.now();
    const { resync } = this;
    const events = this.waiting.splice(0, MAX_EVENTS_AT_ONCE);
    for (const event of events) {
      const watched = this.watched.get(event.partition);
      if (watched === undefined) continue;
      watched.waiting--;
      watched.toldTo = positionOf(event);
    }
    this.resync = false;
    this.hasBegun ||= [...this.watched.values()].every(({ isJoined }) => isJoined);
    this.giveRoom();
    const cursor = now >= this.cursorDueAt ? this.cursor() : undefined;
    const isLarge = this.watched.size > MANY_PARTITIONS;
    if (cursor !== undefined && isLarge) this.cursorDueAt = now + LARGE_CURSOR_MS;
    this.checkpointAt = cursor === undefined && isLarge ? this.cursorDueAt : now + CHECKPOINT_MS;
    return { events, resync, cursor };
  }

  /** Where the stream is; undefined while that is not known of all partitions. */
  private cursor(): Buffer | undefined {
    const places: Place[] = [];
    for (const { feed, isJoined, knownTo, waiting, toldTo } of this.watched.values()) {
      const place = isJoined ? feed.placeOf(this) : knownTo;
      if (place === undefined) return undefined;
      places.push(waiting > 0 ? { ...place, ...toldTo } : place);
    }
    return encodeCursor(this.selection, places);
  }
}
