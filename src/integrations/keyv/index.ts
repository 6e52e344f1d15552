import { EventEmitter } from 'node:events';
import type { KeyvStoreAdapter, StoredData } from 'keyv';
import type { Cache } from '../../client/index.js';

/*
 * What Keyv hands over comes back as it was, so the type that its caller names is as true here as anywhere in Keyv.
 */

/**
 * A store for Keyv (version 5): `new Keyv({ store: new KeyvShardkeep(shardkeep.cache), namespace: 'shop' })`.
 *
 * `clear` takes the same time however many entries there are: it invalidates a tag that all of the namespace carry. Keys and their
 * Keyv namespace together are up to 512 bytes, times to live 1 ms to 365 days; without one an entry stays until it is deleted or
 * evicted. There is no iterator: the service does not list keys. While the cache is away reads miss and writes are logged, as the
 * client's `cache` options say.
 */
export class KeyvShardkeep extends EventEmitter implements KeyvStoreAdapter {
  readonly opts: Record<string, unknown> = { dialect: 'shardkeep' };
  /** Set by Keyv, which puts it before each key too. */
  namespace?: string | undefined;

  constructor(private readonly cache: Cache) {
    super();
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

  async setMany(entries: { key: string; value: unknown; ttl?: number }[]): Promise<void> {
    const tags = [this.tag];
    await this.cache.setMany(entries.map(({ key, value, ttl }) => ({ key, value, ...expiryOf(ttl), tags })));
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

  private get tag(): string {
    return `keyv:${this.namespace ?? ''}`;
  }
}

function expiryOf(ttl: number | undefined): { readonly ttlMs: number } | { readonly noExpiry: true } {
  return ttl === undefined ? { noExpiry: true } : { ttlMs: ttl };
}
