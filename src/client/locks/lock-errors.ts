import { status as Code } from '@grpc/grpc-js';
import { ShardkeepError } from '../errors.js';
import type { LockRefusal } from './acquire-outcome.js';
import type { LockHolder } from './lock-state.js';

/** A lock was not granted in the time there was; nothing was done. `retryAfterMs` says when it can be, as far as known. */
export class LockNotAcquiredError extends ShardkeepError {
  override readonly name = 'LockNotAcquiredError';
  /** What was asked for. */
  readonly resources: readonly string[];
  readonly status: LockRefusal['status'];
  /** The one of `resources` that is in the way. */
  readonly blockingResource: string;
  /** Who holds it, of several holders one of those; undefined where nobody does. */
  readonly holder: LockHolder | undefined;
  /** How many wait for it. */
  readonly waitingCount: number;

  constructor(resources: readonly string[], refusal: LockRefusal) {
    const { status, blockingResource, holder, waitingCount, retryAfterMs } = refusal;
    super(Code.FAILED_PRECONDITION, `the lock ${blockingResource} is ${WORDS[status]}`, { retryAfterMs });
    this.resources = resources;
    this.status = status;
    this.blockingResource = blockingResource;
    this.holder = holder;
    this.waitingCount = waitingCount;
  }
}

const WORDS: Readonly<Record<LockRefusal['status'], string>> = {
  held: 'held by another',
  queued: 'wanted by others, who came before',
  in_delay: 'closed, because its holder got lost',
};

/**
 * How a lock got lost. `expired`: its lease ran out, or would have by this client's clock without a renewal that was heard of.
 * `force_released`: by forceReleaseLock. `released`: by releaseLock with its token. `disconnected`: the connection broke, or the
 * service went away. `closed`: the client was closed.
 */
export type LockLoss = 'expired' | 'force_released' | 'released' | 'disconnected' | 'closed';

/** A lock got lost while it was held: another may hold it now, and what was done last under it may be worthless. */
export class LockLostError extends ShardkeepError {
  override readonly name = 'LockLostError';

  constructor(
    /** Those of the lock, of which at least one got lost. */
    readonly resources: readonly string[],
    readonly loss: LockLoss,
    /** The reason that was given to forceReleaseLock; '' where there is none. */
    readonly detail = '',
  ) {
    super(Code.ABORTED, `the lock ${resources.join(', ')} is lost: ${detail === '' ? loss : `${loss} (${detail})`}`);
  }
}
