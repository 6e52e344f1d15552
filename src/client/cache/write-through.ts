import type { CallOptions } from '../transport/method.js';
import type { CacheEntry, SetOptions, Stored } from './entries.js';

export type WriteThroughOptions = Omit<SetOptions, 'condition'> & CallOptions;

/** What of the cache writing through needs. */
export interface WriteThroughCache {
  getEntry(key: string, options?: CallOptions): Promise<CacheEntry<unknown> | undefined>;
  set(key: string, value: unknown, options: SetOptions & CallOptions): Promise<Stored>;
  delete(key: string, options?: CallOptions): Promise<boolean>;
}

/**
 * Writes to the source first, and to the cache only over what was there before: where another writer was there in between,
 * nobody knows whose value the source has, so the key is deleted and the next reader loads. A writer that fails may have
 * written, so the key is deleted then too.
 */
export async function writeThrough<Value>(
  cache: WriteThroughCache,
  key: string,
  value: Value,
  writer: (value: Value) => Promise<void> | void,
  options: WriteThroughOptions,
): Promise<Stored> {
  const before = await cache.getEntry(key, callOptionsOf(options));
  try {
    await writer(value);
  } catch (error) {
    await cache.delete(key, callOptionsOf(options)).catch(() => false);
    throw error;
  }
  let stored: Stored | undefined;
  try {
    const condition = before === undefined ? 'absent' : { version: before.version };
    stored = await cache.set(key, value, { ...options, condition });
  } finally {
    if (stored?.stored !== true) await cache.delete(key, callOptionsOf(options));
  }
  return stored;
}

function callOptionsOf({ timeoutMs, signal }: CallOptions): CallOptions {
  return { ...(timeoutMs !== undefined && { timeoutMs }), ...(signal !== undefined && { signal }) };
}
