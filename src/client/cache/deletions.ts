import { setTimeout as delay } from 'node:timers/promises';
import { DeleteRequest, InvalidateTagsRequest, InvalidationMode } from '../../gen/shardkeep/cache/v1/cache.js';
import type { Rpc } from '../rpc/rpc.js';
import type { CallOptions } from '../transport/method.js';
import { isOutage, type Degrading } from './degrading.js';
import { guardOf, pagesOf, type Guard } from './entries.js';

export interface DeletionsParts {
  readonly rpc: Rpc['cache'];
  readonly degrading: Degrading;
  /** Aborts when the client closes. */
  readonly closing: AbortSignal;
}

/** Keys and tags that are remembered; what comes on top is lost, and said. */
const MAX_LATE = 16_384;
/** Before what is late is tried again, doubled each time. */
const BASE_DELAY_MS = 100;
const MAX_DELAY_MS = 2_000;

/**
 * Deletions and invalidations. Those that the service was away for are made up for when it is back: what was to end would be
 * read until it expires otherwise. A key or a tag may have been written anew by others meanwhile; that it is then a miss is
 * what a cache may always be.
 */
export class Deletions {
  /** What is late, each with the number of when it was asked for last. */
  private readonly keys = new Map<string, number>();
  private readonly tags = new Map<string, { readonly mode: InvalidationMode; readonly asked: number }>();
  private asked = 0;
  private isRunning = false;
  private wake: () => void = () => undefined;

  constructor(private readonly parts: DeletionsParts) {}

  async delete(keys: readonly string[], options: CallOptions & { readonly guard?: Guard }): Promise<boolean[]> {
    const { rpc, degrading } = this.parts;
    const deleted = pagesOf(keys, 'keys').map(async (page) => {
      const request = DeleteRequest.fromPartial({ keys: page, guard: guardOf(options.guard) });
      const remove = async (): Promise<boolean[]> => (await rpc.delete(request, options)).deleted;
      // whoever holds a lock has to know
      if (options.guard !== undefined) return degrading.ask(remove, options);
      const { asked } = this;
      try {
        const answer = await degrading.ask(remove, options);
        this.forgetKeys(page, asked);
        return answer;
      } catch (error) {
        const lost = page.map(() => false);
        return degrading.lose(this.rememberKeys(page, error), lost, error);
      }
    });
    return (await Promise.all(deleted)).flat();
  }

  async invalidateTags(tags: readonly string[], mode: InvalidationMode, options: CallOptions): Promise<void> {
    const { rpc, degrading } = this.parts;
    const request = InvalidateTagsRequest.fromPartial({ tags: [...tags], mode });
    try {
      await degrading.ask(() => rpc.invalidateTags(request, options), options);
    } catch (error) {
      degrading.lose(this.rememberTags(tags, mode, error), undefined, error);
    }
  }

  /** Before these keys are read or written: what is late of them comes first, or would end what is written now. */
  settled<Answer>(keys: readonly string[], call: () => Promise<Answer>): Promise<Answer> {
    const late = this.keys.size === 0 ? [] : keys.filter((key) => this.keys.has(key));
    if (late.length === 0) return call();
    // who cannot delete now can neither read nor write
    return this.deleteLate(late).then(call, call);
  }

  /** The service may be back. */
  retryNow(): void {
    this.wake();
  }

  /** Answers what to log. */
  private rememberKeys(keys: readonly string[], error: unknown): string {
    if (!this.parts.degrading.mayLose(error) || this.keys.size + keys.length > MAX_LATE) {
      return 'a deletion is lost: what was there may be read until it expires';
    }
    for (const key of keys) this.keys.set(key, ++this.asked);
    this.start();
    return 'a deletion is late: what was there may be read until the service is back';
  }

  private rememberTags(tags: readonly string[], mode: InvalidationMode, error: unknown): string {
    if (!this.parts.degrading.mayLose(error) || this.tags.size + tags.length > MAX_LATE) {
      return 'an invalidation is lost: entries may be read until they expire';
    }
    for (const tag of tags) {
      const isHard = mode === InvalidationMode.HARD || this.tags.get(tag)?.mode === InvalidationMode.HARD;
      this.tags.set(tag, { mode: isHard ? InvalidationMode.HARD : InvalidationMode.SOFT, asked: ++this.asked });
    }
    this.start();
    return 'an invalidation is late: entries may be read until the service is back';
  }

  private forgetKeys(keys: readonly string[], askedBy: number): void {
    for (const key of keys) if ((this.keys.get(key) ?? Infinity) <= askedBy) this.keys.delete(key);
  }

  private start(): void {
    if (!this.isRunning) void this.run();
  }

  private async run(): Promise<void> {
    const { closing, degrading } = this.parts;
    this.isRunning = true;
    for (let failures = 0; this.keys.size + this.tags.size > 0; failures++) {
      await this.rest(Math.min(BASE_DELAY_MS * 2 ** failures, MAX_DELAY_MS));
      try {
        closing.throwIfAborted();
        await this.deleteLate([...this.keys.keys()]);
        await this.invalidateLate();
      } catch (error) {
        if (isOutage(error) && !closing.aborted) continue;
        // it would be refused again
        degrading.say('error', 'deletions are lost: what was there may be read until it expires', error);
        this.keys.clear();
        this.tags.clear();
      }
    }
    this.isRunning = false;
  }

  private async rest(ms: number): Promise<void> {
    const { closing } = this.parts;
    const awake = new AbortController();
    this.wake = () => {
      awake.abort();
    };
    await delay(ms, undefined, { signal: AbortSignal.any([awake.signal, closing]), ref: false }).catch(() => undefined);
  }

  private async deleteLate(keys: readonly string[]): Promise<void> {
    const { rpc, degrading } = this.parts;
    for (const page of pagesOf(keys, 'keys')) {
      const { asked } = this;
      await degrading.ask(() => rpc.delete({ keys: page }));
      this.forgetKeys(page, asked);
    }
  }

  private async invalidateLate(): Promise<void> {
    const { rpc, degrading } = this.parts;
    for (const mode of [InvalidationMode.HARD, InvalidationMode.SOFT]) {
      const tags = Array.from(this.tags).flatMap(([tag, late]) => (late.mode === mode ? [tag] : []));
      for (const page of pagesOf(tags, 'tags')) {
        const { asked } = this;
        await degrading.ask(() => rpc.invalidateTags({ tags: page, mode }));
        for (const tag of page) if ((this.tags.get(tag)?.asked ?? Infinity) <= asked) this.tags.delete(tag);
      }
    }
  }
}
