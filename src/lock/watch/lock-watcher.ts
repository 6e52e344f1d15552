import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { DomainError } from '../../errors.js';
import { keys, lockResourceOf } from '../../redis/keys.js';
import { redisUnavailable } from '../../redis/errors.js';
import type { Change, Topic, TopicWatcher } from '../../redis/watch/topic.js';
import { LIST_BEGIN, type ListPlace } from '../../redis/list-token.js';
import type { LockOperationStore, LockSummary } from '../operation-store.js';
import { callOfItsOwn } from '../waiting.js';
import type { LockFeed } from './lock-feed.js';

/** What a stream is told at once. */
export interface LockNews {
  readonly locks: readonly LockSummary[];
  /** Changes may have been missed. */
  readonly resync: boolean;
}

export interface LockWatcherOptions {
  readonly namespace: string;
  readonly resources: readonly string[];
  /** Empty: none. */
  readonly prefix: string;
  readonly feed: LockFeed;
  readonly store: Pick<LockOperationStore, 'summaryOf' | 'listEnding'>;
}

const MAX_LOCKS_AT_ONCE = 100;
/** Resources that wait for a slow reader; beyond, it is told to read anew. */
const MAX_WAITING = 8_192;
/** Locks of a prefix whose next end is looked out for. */
const MAX_TIMED = 16_384;
/** Behind the moment by Redis's clock, so that the look finds it over. */
const OVER_MS = 2;
/** Of what ended while the stream began, so much more is told: Redis counts in its own time. */
const ENDED_MARGIN_MS = 100;
/** How long a stream may take to begin. */
const BEGIN_MS = 10_000;
const RETRY_MS = 250;
/** Locks that are there already are looked for so many at a time. */
const SEEK_PAGE = 1_000;

/**
 * One stream of WatchLocks: what it watches, and of which resources it has not been told how they stand. That is read when
 * it is told: so a slow reader gets the latest, and of many changes of one resource one.
 */
export class LockWatcher implements TopicWatcher {
  private readonly topics: readonly Topic[];
  /** Whose changes are not told yet, or not for now. */
  private readonly unarmed = new Set<Topic>();
  private readonly changed = new Set<string>();
  /** When something ends of which nobody tells, by resource. */
  private readonly timers = new Map<string, NodeJS.Timeout>();
  private resync = false;
  /** Changes went untold: to be told when they are told again, since whoever reads anew before may miss some. */
  private wasLost = false;
  private hasBegun = false;
  private isSeeking = false;
  private closed = false;
  private wake: () => void = () => undefined;
  private readonly beginBefore = performance.now() + BEGIN_MS;
  private readonly options: LockWatcherOptions;

  /** Throws OVERLOADED where too much is watched already. */
  constructor(options: LockWatcherOptions) {
    this.options = options;
    const { namespace, resources, prefix, feed } = options;
    const topics: Topic[] = [];
    this.topics = topics;
    try {
      for (const resource of resources) topics.push(feed.join('key', keys.lock(namespace, resource), this));
      if (prefix !== '') topics.push(feed.join('prefix', keys.lockPrefix(namespace, prefix), this));
    } catch (error) {
      for (const topic of topics) feed.leave(topic, this);
      throw error;
    }
    feed.watchers++;
    for (const topic of topics) if (topic.since === undefined) this.unarmed.add(topic);
    if (this.unarmed.size === 0) this.allArmed();
  }

  tell(change: Change): void {
    const resource =
      change.kind === 'key' ? lockResourceOf(this.options.namespace, Buffer.from(change.name)) : undefined;
    if (resource !== undefined) this.mustTell(resource);
  }

  armed(topic: Topic): void {
    if (this.unarmed.delete(topic) && this.unarmed.size === 0) this.allArmed();
  }

  lost(topic: Topic): void {
    this.unarmed.add(topic);
    this.wasLost = true;
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    const { feed } = this.options;
    for (const topic of this.topics) feed.leave(topic, this);
    feed.watchers--;
    for (const timer of this.timers.values()) clearTimeout(timer);
    this.timers.clear();
    this.wake();
  }

  /**
   * Waits until there is something to tell; at first, until every change is told from now on. Undefined when the stream is
   * closed. Throws REDIS_UNAVAILABLE where it cannot begin.
   */
  async next(): Promise<LockNews | undefined> {
    while (!this.closed) {
      if (this.hasNews) {
        const news = await this.take();
        if (news !== undefined) return news;
      } else await this.news();
    }
    return undefined;
  }

  private get hasNews(): boolean {
    if (!this.hasBegun) return this.unarmed.size === 0;
    return this.resync || this.changed.size > 0;
  }

  private async news(): Promise<void> {
    const leftMs = this.hasBegun ? undefined : this.beginBefore - performance.now();
    if (leftMs !== undefined && leftMs <= 0) throw redisUnavailable('Redis does not tell of changes');
    await new Promise<void>((resolve) => {
      const timer = leftMs === undefined ? undefined : setTimeout(resolve, leftMs).unref();
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  private allArmed(): void {
    for (const resource of this.options.resources) this.changed.add(resource);
    if (this.wasLost && this.hasBegun) this.resync = true;
    this.wasLost = false;
    if (this.options.prefix !== '') void this.seekEnds();
    this.wake();
  }

  private mustTell(resource: string): void {
    if (this.closed) return;
    this.changed.add(resource);
    if (this.changed.size > MAX_WAITING) {
      this.changed.clear();
      this.resync = true;
      for (const named of this.options.resources) this.changed.add(named);
    }
    this.wake();
  }

  /** Undefined where it could not be read how the locks stand; then that is tried again after a while. */
  private async take(): Promise<LockNews | undefined> {
    const names: string[] = [];
    for (const name of this.changed) {
      if (names.length === MAX_LOCKS_AT_ONCE) break;
      names.push(name);
    }
    // what changes from now on is told once more
    for (const name of names) this.changed.delete(name);
    const { resync } = this;
    this.resync = false;
    try {
      const locks = await Promise.all(names.map((name) => this.read(name)));
      this.hasBegun = true;
      return { locks, resync };
    } catch (error) {
      if (!(error instanceof DomainError)) throw error;
      for (const name of names) this.changed.add(name);
      this.resync ||= resync;
      if (!this.hasBegun && performance.now() >= this.beginBefore) throw error;
      await sleep(RETRY_MS, undefined, { ref: false });
      return undefined;
    }
  }

  private async read(resource: string): Promise<LockSummary> {
    const { namespace, store } = this.options;
    const summary = await store.summaryOf(resource, callOfItsOwn(namespace));
    this.lookOutFor(summary);
    return summary;
  }

  /** A lease that runs out changes nothing in Redis. */
  private lookOutFor({ resource, changesInMs }: LockSummary): void {
    clearTimeout(this.timers.get(resource));
    this.timers.delete(resource);
    if (changesInMs === 0 || this.closed || this.timers.size >= MAX_TIMED) return;
    const timer = setTimeout(() => {
      this.timers.delete(resource);
      this.mustTell(resource);
    }, changesInMs + OVER_MS).unref();
    this.timers.set(resource, timer);
  }

  /** Looks out for the ends of what was there before it was watched, and tells of those that it came too late for. */
  private async seekEnds(): Promise<void> {
    if (this.isSeeking) return;
    this.isSeeking = true;
    const { prefix, namespace, store } = this.options;
    const begunAt = performance.now() - ENDED_MARGIN_MS;
    let place: ListPlace | undefined = LIST_BEGIN;
    while (place !== undefined && !this.closed && this.timers.size < MAX_TIMED) {
      try {
        const page = await store.listEnding(prefix, { pageSize: SEEK_PAGE, place }, callOfItsOwn(namespace));
        for (const summary of page.locks) {
          const { resource, endedMsAgo } = summary;
          if (endedMsAgo > 0 && endedMsAgo <= performance.now() - begunAt) this.mustTell(resource);
          if (!this.timers.has(resource)) this.lookOutFor(summary);
        }
        place = page.next;
      } catch {
        // what Redis did is logged already
        await sleep(RETRY_MS, undefined, { ref: false });
      }
    }
    this.isSeeking = false;
  }
}
