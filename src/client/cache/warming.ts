import { performance } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { invalidArgument } from '../errors.js';
import type { WarmOutcome } from './cache-aside.js';
import { CACHE_ASIDE_OPTIONS, type CacheAsideOptions } from './load-terms.js';
import type { Loader } from './loader.js';
import { listIn, functionIn, optionsIn, type OptionNames } from '../arguments.js';

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

export interface WarmFailure {
  readonly key: string;
  readonly error: unknown;
}

export interface WarmResult extends WarmProgress {
  /** Why entries failed: of the first 100 that did. */
  readonly failures: readonly WarmFailure[];
}

export interface WarmManyOptions {
  /** Loads at the same time; 4 by default. */
  readonly concurrency?: number;
  /** Loads begun in a second, so that the source keeps up with players; no limit by default. */
  readonly maxPerSecond?: number;
  /** Called after each entry. What it throws is logged, at most once a second, and stops nothing. */
  readonly onProgress?: (step: WarmStep) => void;
  /** Begins no more loads. */
  readonly signal?: AbortSignal;
}

const WARM_ENTRY: OptionNames<WarmEntry> = { ...CACHE_ASIDE_OPTIONS, key: true, loader: true };
export const WARM_MANY_OPTIONS: OptionNames<WarmManyOptions> = {
  concurrency: true,
  maxPerSecond: true,
  onProgress: true,
  signal: true,
};

/** Enough to see what is wrong; a source that is away fails every entry. */
const MAX_FAILURES = 100;

/** Warms entries a few at a time; one that fails stops nobody. */
export async function warmMany(
  entries: readonly WarmEntry[],
  warm: (entry: WarmEntry) => Promise<WarmOutcome>,
  options: WarmManyOptions & { readonly closing: AbortSignal; readonly onProgressError: (error: unknown) => void },
): Promise<WarmResult> {
  const { concurrency = 4, maxPerSecond = Infinity, onProgress, onProgressError, closing } = options;
  for (const [index, entry] of listIn(entries, 'entries').entries())
    optionsIn(entry, WARM_ENTRY, `entries[${String(index)}]`);
  if (!(typeof concurrency === 'number' && concurrency >= 1))
    throw invalidArgument('concurrency must be at least 1', ['concurrency']);
  if (!(typeof maxPerSecond === 'number' && maxPerSecond > 0))
    throw invalidArgument('maxPerSecond must be above 0', ['maxPerSecond']);
  if (onProgress !== undefined) functionIn(onProgress, 'onProgress');
  const signal = options.signal === undefined ? closing : AbortSignal.any([closing, options.signal]);
  const counts = { warmed: 0, skipped: 0, failed: 0 };
  const failures: WarmFailure[] = [];
  const progress = (): WarmProgress => ({
    total: entries.length,
    done: counts.warmed + counts.skipped + counts.failed,
    ...counts,
  });
  // one that is async fails later, which nobody else would hear of
  const tell = (step: WarmStep): Promise<void> =>
    new Promise((resolve) => {
      resolve(onProgress?.(step));
    });
  const left = entries[Symbol.iterator]();
  const gapMs = 1_000 / maxPerSecond;
  let nextAt = performance.now();

  const warmOne = async (entry: WarmEntry): Promise<WarmStep> => {
    const { key } = entry;
    try {
      counts[await warm(entry)]++;
      return { ...progress(), key };
    } catch (error) {
      counts.failed++;
      if (failures.length < MAX_FAILURES) failures.push({ key, error });
      return { ...progress(), key, error };
    }
  };
  const worker = async (): Promise<void> => {
    for (const entry of left) {
      const startAt = Math.max(nextAt, performance.now());
      nextAt = startAt + gapMs;
      const waitMs = startAt - performance.now();
      if (waitMs > 0) await delay(waitMs, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      tell(await warmOne(entry)).catch(onProgressError);
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, entries.length) }, worker));
  return { ...progress(), failures };
}
