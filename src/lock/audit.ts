import type { Logger } from 'pino';
import type { Holder } from './backend.js';

/** A lock that was taken from its holders by ForceReleaseLock. */
export interface ForcedRelease {
  readonly resource: string;
  readonly reason: string;
  /** The highest fencing token now. */
  readonly fence: number;
  readonly holderCount: number;
  /** Of these, at most 100. */
  readonly holders: readonly Holder[];
}

/** Writes down who took a lock from whom, and why; never a lock token. */
export class LockAudit {
  private readonly logger: Logger | undefined;

  /** `logger` undefined: nothing is logged. */
  constructor(logger: Logger | undefined) {
    this.logger = logger?.child({ audit: true });
  }

  forceReleased({ resource, reason, fence, holderCount, holders }: ForcedRelease, by: { readonly peer: string }): void {
    this.logger?.info(
      {
        event: 'force_released',
        resource,
        reason,
        holderCount,
        owners: holders.map(({ owner }) => owner),
        fencingTokens: holders.map(({ fencingToken }) => fencingToken),
        fencingToken: fence,
        peer: by.peer,
      },
      'lock audit',
    );
  }
}
