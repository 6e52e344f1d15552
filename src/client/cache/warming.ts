import { performance } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { invalidArgument } from '../errors.js';
import type { CacheAsideOptions, WarmOutcome } from './cache-aside.js';
import type { Loader } from './loader.js';

export interface WarmEntry extends Omit<CacheAsideOptions, 'tags'> {
  readonly key: string;
  readonly loader: Loader<unknown>;
  /** Names by which `invalidateByTag` ends the entry; at most 32. */
  readonly tags?: readonly string[];
}

export interface WarmProgress {
  readonly total: number;
  /** Entries that are done with: the three below together. */
  readonly done: number;
  readonly warmed: number;
  /** Somebody else loads the key, or its last load failed a moment ago. */
  readonly skipped: number;
  readonly failed: number;
}

export interface WarmStep extends WarmProgress {
  /** The entry that was done with last. */
  readonly key: string;
  /** Why it failed. */
  readonly error?: unknown;
}

export interface WarmManyOptions {
  /** Loads at the same time; 4 by default. */
  readonly concurrency?: number;
  /** Loads begun in a second, so that the source keeps up with players; no limit by default. */
  readonly maxPerSecond?: number;
  readonly onProgress?: (step: WarmStep) => void;
  /** Begins no more loads. */
  readonly signal?: AbortSignal;
}

/** Warms entries a few at a time; one that fails stops nobody. */
export async function warmMany(
  entries: readonly WarmEntry[],
  warm: (entry: WarmEntry) => Promise<WarmOutcome>,
  options: WarmManyOptions & { readonly closing: AbortSignal },
): Promise<WarmProgress> {
  const { concurrency = 4, maxPerSecond = Infinity, onProgress, closing } = options;
  const signal = options.signal === undefined ? closing : AbortSignal.any([closing, options.signal]);
  if (!(concurrency >= 1)) throw invalidArgument('concurrency must be at least 1', ['concurrency']);
  if (!(maxPerSecond > 0)) throw invalidArgument('maxPerSecond must be above 0', ['maxPerSecond']);
  const counts = { warmed: 0, skipped: 0, failed: 0 };
  const progress = (): WarmProgress => ({
    total: entries.length,
    done: counts.warmed + counts.skipped + counts.failed,
    ...counts,
  });
  const left = entries[Symbol.iterator]();
  const gapMs = 1_000 / maxPerSecond;
  let nextAt = performance.now();

  const worker = async (): Promise<void> => {
    for (const entry of left) {
      const startAt = Math.max(nextAt, performance.now());
      nextAt = startAt + gapMs;
      const waitMs = startAt - performance.now();
      if (waitMs > 0) await delay(waitMs, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      try {
        counts[await warm(entry)]++;
        onProgress?.({ ...progress(), key: entry.key });
      } catch (error) {
        counts.failed++;
        onProgress?.({ ...progress(), key: entry.key, error });
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, entries.length) }, worker));
  return progress();
}
