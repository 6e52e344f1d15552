import type { HeldLease, HeldLock } from './held-lease.js';

/** What is done under a lock. */
export type LockedBody<Result> = (lock: Omit<HeldLock, 'release'>) => Promise<Result>;

/** Runs the body, and releases the lock however it ends. Rejects with LockLostError where the lock did not last until then. */
export async function runUnder<Result>(lock: HeldLease, body: LockedBody<Result>): Promise<Result> {
  let outcome: { readonly result: Result } | { readonly error: unknown };
  try {
    outcome = { result: await body(lock) };
  } catch (error) {
    outcome = { error };
  }
  await lock.release();
  const { loss } = lock;
  if (loss === undefined) {
    if ('error' in outcome) throw outcome.error;
    return outcome.result;
  }
  // a body that heeds the signal throws its reason; what another one throws may be the loss in other words
  if ('error' in outcome && outcome.error !== loss) loss.cause = outcome.error;
  throw loss;
}
