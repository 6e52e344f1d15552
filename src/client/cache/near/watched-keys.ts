import { LRUCache } from 'lru-cache';
import type { Entry } from '../../../gen/shardkeep/cache/v1/cache.js';
import type { ChangeFeed } from './change-feed.js';
import type { KeptEntry } from './kept-entry.js';

/** A key that the service tells of. It stays the same object for as long as it is watched without a break. */
export class WatchedKey {
  /** Of the entry as it was answered last; undefined: nothing was answered yet. */
  tags: readonly string[] | undefined;
  /** Counts what was told of the key, done to it by this client, or seen by its reads. */
  changes = 0;
  /** Those since something was kept of it. */
  changesUnread = 0;
  /** The entry as it was answered last; null: there was none. */
  private answered: Pick<Entry, 'version' | 'stale'> | null | undefined;

  constructor(readonly key: string) {}

  /** What a read found. Answers whether that is something else than before; if so, it counts as a change. */
  answer(entry: Entry | undefined): boolean {
    const { answered } = this;
    const isKnown = answered !== undefined && answered?.version === entry?.version && answered?.stale === entry?.stale;
    if (isKnown) return false;
    this.answered = entry === undefined ? null : { version: entry.version, stale: entry.stale };
    this.changes++;
    return true;
  }
}

interface Slot {
  readonly watched: WatchedKey;
  readonly kept: KeptEntry | undefined;
}

export interface WatchedKeysOptions {
  readonly maxBytes: number;
  readonly maxKeys: number;
}

/** Keys and tags that a stream may watch in all. */
export const MAX_NAMES = 16_384;
/** What changes so often without being read is not worth being told of. */
const MAX_CHANGES_UNREAD = 8;

/**
 * What a slot costs in bytes besides its key, value and tags, and a tag besides its characters: about 700 and 300 as V8
 * counts, and some for maps that grow and what the allocator loses.
 */
const SLOT_BYTES = 1_000;
const TAG_BYTES = 400;
const BYTES_A_CHARACTER = 2;

/** The keys that are watched, with what is kept of them; what was not used for the longest time is watched no more. */
export class WatchedKeys {
  private readonly slots: LRUCache<string, Slot>;
  /** By tag, the keys whose entries have it. Those tags are watched. */
  private readonly holders = new Map<string, Set<WatchedKey>>();
  private keptCount = 0;

  constructor(
    private readonly feed: Pick<ChangeFeed, 'add' | 'remove' | 'size'>,
    private readonly options: WatchedKeysOptions,
  ) {
    this.slots = new LRUCache({
      max: options.maxKeys,
      maxSize: options.maxBytes,
      // a slot is replaced when what is kept changes; the key is watched all the same
      noDisposeOnSet: true,
      dispose: (slot) => {
        this.unwatch(slot);
      },
    });
  }

  /** How many keys something is kept of. */
  get entries(): number {
    return this.keptCount;
  }

  get bytes(): number {
    return this.slots.calculatedSize;
  }

  find(key: string): WatchedKey | undefined {
    return this.slots.peek(key)?.watched;
  }

  /** A use of the key. */
  use(key: string): Slot | undefined {
    return this.slots.get(key);
  }

  watch(key: string): WatchedKey {
    const watched = new WatchedKey(key);
    this.feed.add('key', key);
    this.put({ watched, kept: undefined }, bytesOf(key, 0, []));
    this.makeRoom();
    return watched;
  }

  /** The entry of a key has these tags now: they are watched as long as it is. */
  setTags(watched: WatchedKey, tags: readonly string[]): void {
    const { tags: before = [] } = watched;
    watched.tags = tags;
    for (const tag of tags) {
      const holders = this.holders.get(tag);
      if (holders !== undefined) holders.add(watched);
      else {
        this.holders.set(tag, new Set([watched]));
        this.feed.add('tag', tag);
      }
    }
    for (const tag of before) if (!tags.includes(tag)) this.leaveTag(watched, tag);
    this.makeRoom();
  }

  /** Keeps an answer, of so many bytes, unless it is larger than all may be together. */
  keep(watched: WatchedKey, kept: KeptEntry, valueBytes: number): void {
    const bytes = bytesOf(watched.key, valueBytes, watched.tags ?? []);
    if (bytes > this.options.maxBytes || this.find(watched.key) !== watched) return;
    watched.changesUnread = 0;
    this.put({ watched, kept }, bytes);
  }

  /** Answers whether something was kept. */
  drop(watched: WatchedKey): boolean {
    const slot = this.slots.peek(watched.key);
    if (slot?.watched !== watched || slot.kept === undefined) return false;
    this.put({ watched, kept: undefined }, bytesOf(watched.key, 0, []));
    return true;
  }

  dropAll(): void {
    if (this.keptCount === 0) return;
    // each becomes the latest that was used: the order stays as it is
    for (const slot of [...this.slots.rvalues()]) if (slot !== undefined) this.drop(slot.watched);
  }

  /** Whether it is still worth being watched, when it was told as changed. */
  countChange(watched: WatchedKey): void {
    watched.changes++;
    if (++watched.changesUnread > MAX_CHANGES_UNREAD) this.slots.delete(watched.key);
  }

  holdersOf(tag: string): Iterable<WatchedKey> {
    return this.holders.get(tag) ?? [];
  }

  clear(): void {
    this.slots.clear();
  }

  private put(slot: Slot, size: number): void {
    const { key } = slot.watched;
    if (this.slots.peek(key)?.kept !== undefined) this.keptCount--;
    if (slot.kept !== undefined) this.keptCount++;
    this.slots.set(key, slot, { size });
  }

  private makeRoom(): void {
    while (this.feed.size > MAX_NAMES && this.slots.size > 0) this.slots.pop();
  }

  private unwatch({ watched, kept }: Slot): void {
    if (kept !== undefined) this.keptCount--;
    this.feed.remove('key', watched.key);
    for (const tag of watched.tags ?? []) this.leaveTag(watched, tag);
  }

  private leaveTag(watched: WatchedKey, tag: string): void {
    const holders = this.holders.get(tag);
    if (holders?.delete(watched) !== true || holders.size > 0) return;
    this.holders.delete(tag);
    this.feed.remove('tag', tag);
  }
}

function bytesOf(key: string, valueBytes: number, tags: readonly string[]): number {
  let bytes = SLOT_BYTES + key.length * BYTES_A_CHARACTER + valueBytes;
  for (const tag of tags) bytes += TAG_BYTES + tag.length * BYTES_A_CHARACTER;
  return bytes;
}
