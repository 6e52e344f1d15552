import { AsyncLocalStorage } from 'node:async_hooks';
import type { Deletions } from './deletions.js';
import type { NearCache } from './near/near-cache.js';
import { RequestMemo } from './request-memo.js';
import { SharedLoads } from './shared-loads.js';

/** All that this process remembers of the cache, which must forget what this process writes. */
export class CallerMemory {
  readonly memo = new RequestMemo();
  readonly loads = new SharedLoads();

  private readonly beingWritten = new AsyncLocalStorage<ReadonlySet<string>>();

  constructor(
    readonly near: NearCache | undefined,
    readonly deletions: Deletions,
  ) {}

  /** As `deleting`, of what stores something. */
  writing<Answer>(keys: readonly string[], call: () => Promise<Answer>): Promise<Answer> {
    return this.deleting(keys, () => this.deletions.settled(keys, call));
  }

  /**
   * Makes a call that ends what is at these keys, undefined: nobody knows which. Whatever becomes of it, nothing that was read
   * before it is answered any more: it is forgotten before the call, and what was read under it afterwards.
   */
  async deleting<Answer>(keys: readonly string[] | undefined, call: () => Promise<Answer>): Promise<Answer> {
    this.forget(keys);
    try {
      return await call();
    } finally {
      this.forget(keys);
    }
  }

  /** As `deleting`, for what carries these tags. */
  async invalidating<Answer>(tags: readonly string[], call: () => Promise<Answer>): Promise<Answer> {
    this.forgetTags(tags);
    try {
      return await call();
    } finally {
      this.forgetTags(tags);
    }
  }

  /** Runs a writer of the source that holds up loads of this key. */
  runWriter<Result>(key: string, writer: () => Result): Result {
    return this.beingWritten.run(new Set(this.beingWritten.getStore()).add(key), writer);
  }

  /** Whether the caller is such a writer, or called by one: it would wait for itself. */
  isWriter(key: string): boolean {
    return this.beingWritten.getStore()?.has(key) ?? false;
  }

  private forget(keys: readonly string[] | undefined): void {
    this.memo.forget(keys);
    this.loads.forget(keys);
    if (keys === undefined) this.near?.forgetAll();
    else for (const key of keys) this.near?.forget(key);
  }

  private forgetTags(tags: readonly string[]): void {
    this.memo.forget(undefined);
    this.loads.forget(undefined);
    this.near?.forgetTags(tags);
  }
}
