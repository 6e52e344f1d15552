import { createHash } from 'node:crypto';
import { EventEmitter } from 'node:events';
import type { KeyvStoreAdapter, StoredData } from 'keyv';
import type { Cache } from '../../client/index.js';
import { checkArgument, optional, textUpTo, thing } from '../http/option-checks.js';

/*
 * What Keyv hands over comes back as it was, so the type that its caller names is as true here as anywhere in Keyv.
 */

const MAX_TAG_BYTES = 128;
/** A key has up to 512 bytes, and Keyv's separator and a character are some of them. */
const MAX_NAMESPACE_BYTES = 510;

/** As Keyv answers `setMany`, whose type of a store has fallen behind: it hands on what the store answers. */
type StoreAdapter = Omit<KeyvStoreAdapter, 'setMany'>;

/**
 * A store for Keyv (version 5): `new Keyv({ store: new KeyvShardkeep(shardkeep.cache), namespace: 'shop' })`.
 *
 * `clear` takes the same time however many entries there are: it invalidates a tag that all of the namespace carry. A key and its
 * Keyv namespace have up to 511 bytes together, times to live are 1 ms to 365 days; without one an entry stays until it is deleted
 * or evicted. There is no iterator: the service does not list keys. While the cache is away reads miss and writes are logged, as the
 * client's `cache` options say.
 *
 * Each Keyv needs a store of its own: the store has the namespace of the last one that it was given to.
 */
export class KeyvShardkeep extends EventEmitter implements StoreAdapter {
  readonly opts: Record<string, unknown> = { dialect: 'shardkeep' };
  private keyvNamespace: string | undefined;
  private tag = tagOf(undefined);

  /** Throws InvalidArgumentError for what is no cache. */
  constructor(private readonly cache: Cache) {
    super();
    checkArgument('KeyvShardkeep', 'cache', cache, thing('connect(…).cache', 'getEntry', 'invalidateByTag'));
  }

  /** Set by Keyv, which puts it before each key too. Setting one of more than 510 bytes throws InvalidArgumentError. */
  get namespace(): string | undefined {
    return this.keyvNamespace;
  }

  set namespace(namespace: string | undefined) {
    checkArgument('KeyvShardkeep', 'namespace', namespace, optional(textUpTo(MAX_NAMESPACE_BYTES)));
    this.keyvNamespace = namespace;
    this.tag = tagOf(namespace);
  }

  async get<Value>(key: string): Promise<StoredData<Value> | undefined> {
    return this.cache.get<StoredData<Value>>(key);
  }

  async getMany<Value>(keys: string[]): Promise<StoredData<Value | undefined>[]> {
    return this.cache.getMany<StoredData<Value | undefined>>(keys);
  }

  async set(key: string, value: unknown, ttl?: number): Promise<boolean> {
    const { stored } = await this.cache.set(key, value, { ...expiryOf(ttl), tags: [this.tag] });
    return stored;
  }

  /** Whether each entry is stored. */
  async setMany(entries: { key: string; value: unknown; ttl?: number }[]): Promise<boolean[]> {
    const tags = [this.tag];
    const outcomes = await this.cache.setMany(
      entries.map(({ key, value, ttl }) => ({ key, value, ...expiryOf(ttl), tags })),
    );
    return outcomes.map(({ stored }) => stored);
  }

  async delete(key: string): Promise<boolean> {
    // what was cleared is still under its key, and its deletion would count as one
    const had = await this.has(key);
    await this.cache.delete(key);
    return had;
  }

  async deleteMany(keys: string[]): Promise<boolean> {
    const had = await this.hasMany(keys);
    await this.cache.deleteMany([...new Set(keys)]);
    return had.includes(true);
  }

  async has(key: string): Promise<boolean> {
    return (await this.cache.getEntry(key)) !== undefined;
  }

  async hasMany(keys: string[]): Promise<boolean[]> {
    return (await this.cache.getMany(keys)).map((value) => value !== undefined);
  }

  clear(): Promise<void> {
    return this.cache.invalidateByTag(this.tag);
  }

  /** The client is its owner's, who closes it. */
  disconnect(): Promise<void> {
    return Promise.resolve();
  }
}

/** A namespace that is too long for a tag has its digest for one; `keyv#` begins no other. */
function tagOf(namespace = ''): string {
  const tag = `keyv:${namespace}`;
  if (Buffer.byteLength(tag) <= MAX_TAG_BYTES) return tag;
  return `keyv#${createHash('sha256').update(namespace).digest('base64url')}`;
}

function expiryOf(ttl: number | undefined): { readonly ttlMs: number } | { readonly noExpiry: true } {
  return ttl === undefined ? { noExpiry: true } : { ttlMs: ttl };
}
