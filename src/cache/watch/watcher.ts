import { DomainError } from '../../errors.js';
import { cacheKeyOf, keys } from '../../redis/keys.js';
import type { ChangeFeed } from './change-feed.js';
import type { EvictionCounter } from './eviction-counter.js';
import { TopicIndex } from '../../redis/watch/topic-index.js';
import { tagTopicName, type Change, type Topic, type TopicKind, type TopicWatcher } from '../../redis/watch/topic.js';

/** What to watch from now on, and what no more. */
export interface Subscription {
  readonly cursor: Buffer;
  readonly addKeys: readonly string[];
  readonly removeKeys: readonly string[];
  readonly addPrefixes: readonly string[];
  readonly removePrefixes: readonly string[];
  readonly addTags: readonly string[];
  readonly removeTags: readonly string[];
  readonly addEvictions: boolean;
}

export interface Changes {
  readonly keys: readonly string[];
  readonly tags: readonly { readonly tag: string; readonly mode: 'hard' | 'soft' }[];
  /** Everything read before may be old. */
  readonly resync: boolean;
  readonly subscriptionsInForce: number;
  readonly evicted: number;
  /** Undefined where more of what happened until now is to come. */
  readonly cursor: Buffer | undefined;
}

const MAX_TOPICS = 16_384;
/** Of names that wait for a slow reader; beyond, it is told to read everything anew. */
const MAX_WAITING_BYTES = 524_288;
/** What a name costs besides its characters, about. */
const NAME_BYTES = 64;
const MAX_NAMES_AT_ONCE = 1_024;
const CHECKPOINT_MS = 10_000;
/** Of changes for prefixes, to tell what somebody missed; they take tens of ms. For more, it is cheaper to read anew. */
const MAX_RESUME_LOOKS = 131_072;
/** The place of a request among those that are in force, for topics whose changes were told before. */
const LOST = 0;

/** One stream of changes: what it watches, and what it has not been told yet. */
export class Watcher implements TopicWatcher {
  private readonly topics = new Set<Topic>();
  /** Topics whose changes are not told yet, by the request that added them, or not for now: LOST. */
  private readonly unarmed = new Map<Topic, number>();
  /** How many these are of each request; the requests are in order, but for LOST. */
  private readonly unarmedOf = new Map<number, number>();
  private subscriptions = 0;
  private inForce = 0;

  /** As Redis knows them. */
  private readonly changedKeys = new Set<string>();
  private readonly changedTags = new Map<string, 'hard' | 'soft'>();
  /** Of both, about. */
  private waitingBytes = 0;
  private resync = false;
  /** To be told again when so many requests are in force: who reads anew now may miss what happens until then. */
  private resyncWhenInForce: number | undefined;
  private evicted = 0;

  private hasNews = false;
  private closed = false;
  private failure: unknown;
  private wake: () => void = () => undefined;

  constructor(
    private readonly namespace: string,
    private readonly feed: ChangeFeed,
    private readonly evictions: EvictionCounter,
  ) {}

  /** Throws OVERLOADED where that is too much. */
  subscribe(subscription: Subscription): void {
    if (this.closed) return;
    const { namespace } = this;
    const { cursor, addKeys, removeKeys, addPrefixes, removePrefixes, addTags, removeTags } = subscription;
    for (const key of removeKeys) this.remove('key', keys.cache(namespace, key));
    for (const prefix of removePrefixes) this.remove('prefix', keys.cachePrefix(namespace, prefix));
    for (const tag of removeTags) this.remove('tag', tagTopicName(namespace, tag));
    this.subscriptions++;
    const added = new TopicIndex();
    for (const key of addKeys) this.add('key', keys.cache(namespace, key), added);
    for (const prefix of addPrefixes) this.add('prefix', keys.cachePrefix(namespace, prefix), added);
    for (const tag of addTags) this.add('tag', tagTopicName(namespace, tag), added);
    if (subscription.addEvictions) this.evictions.listen(this.countEvicted);
    if (cursor.length > 0) this.resume(cursor, added);
    this.settle();
  }

  tell(change: Change): void {
    // whoever reads everything anew need not be told; nor those who will be told to, and hold nothing until then
    if (this.resync || (this.inForce === 0 && this.resyncWhenInForce !== undefined)) return;
    if (change.kind === 'key') {
      if (!this.changedKeys.has(change.name)) this.waitingBytes += change.name.length + NAME_BYTES;
      this.changedKeys.add(change.name);
    } else {
      const mode = this.changedTags.get(change.tag);
      if (mode === undefined) this.waitingBytes += change.tag.length + NAME_BYTES;
      if (mode !== 'hard') this.changedTags.set(change.tag, change.mode);
    }
    if (this.waitingBytes > MAX_WAITING_BYTES) this.mustResync();
    this.notify();
  }

  armed(topic: Topic): void {
    this.setArmed(topic);
    this.settle();
  }

  lost(topic: Topic): void {
    this.setUnarmed(topic, LOST);
    this.inForce = 0;
    this.resyncWhenInForce = 1;
    this.mustResync();
  }

  /** Ends the stream with an error. */
  fail(error: unknown): void {
    this.failure ??= error;
    this.close();
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    for (const topic of this.topics) this.feed.leave(topic, this, { linger: true });
    this.topics.clear();
    this.evictions.forget(this.countEvicted);
    this.wake();
  }

  /** Waits until there is something to tell, or has been nothing for a while; undefined when the stream is closed. */
  async next(): Promise<Changes | undefined> {
    if (!this.hasNews && !this.closed) await this.news();
    if (this.failure !== undefined) throw this.failure as Error;
    return this.closed ? undefined : this.take();
  }

  private readonly countEvicted = (evicted: number): void => {
    this.evicted += evicted;
    this.notify();
  };

  private news(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, CHECKPOINT_MS).unref();
      this.wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  private add(kind: TopicKind, name: string, added: TopicIndex): void {
    const topic = this.feed.join(kind, name, this);
    if (this.topics.has(topic)) return;
    this.topics.add(topic);
    added.add(topic);
    if (topic.since === undefined) this.setUnarmed(topic, this.subscriptions);
    if (this.topics.size > MAX_TOPICS) throw new DomainError('OVERLOADED', 'a stream cannot watch that much');
  }

  private remove(kind: TopicKind, name: string): void {
    const topic = this.feed.find(kind, name);
    if (topic === undefined || !this.topics.delete(topic)) return;
    this.setArmed(topic);
    this.feed.leave(topic, this, { linger: false });
  }

  private setUnarmed(topic: Topic, request: number): void {
    this.unarmed.set(topic, request);
    this.unarmedOf.set(request, (this.unarmedOf.get(request) ?? 0) + 1);
  }

  /** Also where it is already. */
  private setArmed(topic: Topic): void {
    const request = this.unarmed.get(topic);
    if (request === undefined) return;
    this.unarmed.delete(topic);
    const left = (this.unarmedOf.get(request) ?? 0) - 1;
    if (left > 0) this.unarmedOf.set(request, left);
    else this.unarmedOf.delete(request);
  }

  private resume(cursor: Buffer, added: TopicIndex): void {
    const { ring } = this.feed;
    const position = ring.positionOf(cursor);
    const isKnown =
      position !== undefined &&
      ring.countAfter(position) * added.prefixLooks <= MAX_RESUME_LOOKS &&
      [...added.all()].every(({ since }) => since !== undefined && since <= position);
    if (!isKnown) {
      if (this.unarmed.size > 0) this.resyncWhenInForce ??= this.subscriptions;
      this.mustResync();
    } else if (added.size > 0) {
      for (const change of ring.after(position)) {
        const [topic] = added.of(change);
        if (topic !== undefined) this.tell(change);
      }
    }
  }

  private settle(): void {
    const [waiting = this.subscriptions + 1] = this.unarmedOf.keys();
    const inForce = this.unarmedOf.has(LOST) ? 0 : waiting - 1;
    if (this.resyncWhenInForce !== undefined && inForce >= this.resyncWhenInForce) {
      this.resyncWhenInForce = undefined;
      this.mustResync();
    }
    if (inForce === this.inForce) return;
    this.inForce = inForce;
    this.notify();
  }

  private mustResync(): void {
    this.resync = true;
    this.changedKeys.clear();
    this.changedTags.clear();
    this.waitingBytes = 0;
    this.notify();
  }

  private notify(): void {
    if (this.hasNews) return;
    this.hasNews = true;
    this.wake();
  }

  private take(): Changes {
    const { resync, evicted, inForce: subscriptionsInForce } = this;
    const changedKeys = this.takeKeys();
    const tags = this.takeTags();
    this.hasNews = this.changedKeys.size + this.changedTags.size > 0;
    if (!this.hasNews) this.waitingBytes = 0;
    this.resync = false;
    this.evicted = 0;
    const cursor = this.hasNews ? undefined : this.feed.ring.cursor();
    return { keys: changedKeys, tags, resync, subscriptionsInForce, evicted, cursor };
  }

  /** The first of those that changed, as callers know them. */
  private takeKeys(): string[] {
    const taken: string[] = [];
    for (const name of this.changedKeys) {
      if (taken.length === MAX_NAMES_AT_ONCE) break;
      this.changedKeys.delete(name);
      const key = cacheKeyOf(this.namespace, Buffer.from(name));
      // what no caller can name is nothing to tell
      if (key !== undefined) taken.push(key);
    }
    return taken;
  }

  private takeTags(): Changes['tags'] {
    const taken: { tag: string; mode: 'hard' | 'soft' }[] = [];
    for (const [tag, mode] of this.changedTags) {
      if (taken.length === MAX_NAMES_AT_ONCE) break;
      this.changedTags.delete(tag);
      taken.push({ tag, mode });
    }
    return taken;
  }
}
