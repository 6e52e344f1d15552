import type { OptionNames } from '../arguments.js';
import { STREAM_OPTIONS, type StreamOptions } from '../rpc/stream-channel.js';
import { CALL_OPTIONS, type CallOptions } from '../transport/method.js';
import type { Guard } from './entries.js';

/** How entries are ended, one by one, by tag or by pattern. */

export interface DeleteOptions extends CallOptions {
  /** A lower fencing token than the record has seen fails with FailedPreconditionError (OLD_FENCING_TOKEN). */
  readonly guard?: Guard;
}

export interface InvalidateOptions extends CallOptions {
  /** The entries stay, stale, until they end: one caller loads each anew and the others are served meanwhile. */
  readonly soft?: boolean;
}

export interface DeletePatternOptions extends StreamOptions {
  /** Allows a pattern that begins with a wildcard. */
  readonly allowAll?: boolean;
  /** Only counts. */
  readonly dryRun?: boolean;
  readonly onProgress?: (progress: DeletedPattern) => void;
}

export interface DeletedPattern {
  readonly scanned: number;
  readonly matched: number;
  readonly deleted: number;
}

export const DELETE_OPTIONS: OptionNames<DeleteOptions> = { ...CALL_OPTIONS, guard: true };
export const INVALIDATE_OPTIONS: OptionNames<InvalidateOptions> = { ...CALL_OPTIONS, soft: true };
export const DELETE_PATTERN_OPTIONS: OptionNames<DeletePatternOptions> = {
  ...STREAM_OPTIONS,
  allowAll: true,
  dryRun: true,
  onProgress: true,
};
