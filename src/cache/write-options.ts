import type { Guard } from '../redis/guard.js';

export type SetCondition =
  | { readonly kind: 'always' }
  | { readonly kind: 'absent' }
  | { readonly kind: 'present' }
  | { readonly kind: 'version'; readonly version: bigint };

/** How long an entry lives. */
export interface Lifetime {
  /** 0: no expiry. */
  readonly ttlMs: number;
  /** Stale from then on; 0: fresh to the end. */
  readonly freshMs: number;
}

export interface SetOptions extends Lifetime {
  readonly condition: SetCondition;
  readonly tags: readonly string[];
  readonly guard: Guard | undefined;
}

export interface IncrementOptions {
  /** For a counter that is created; 0: no expiry. */
  readonly ttlMs: number;
  readonly floor: bigint | undefined;
  readonly ceiling: bigint | undefined;
  readonly guard: Guard | undefined;
  /** Empty: a retry counts again. */
  readonly requestId: string;
}
