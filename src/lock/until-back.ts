import { setTimeout as sleep } from 'node:timers/promises';
import { DomainError } from '../errors.js';

const RETRY_MS = 250;
const PATIENCE_MS = 60_000;
/** What is beyond is left to the leases, which end by themselves. */
const MAX_WAITING = 1_000;

let waiting = 0;

/** Does something now or, while Redis is away, when it is back; not again where it may have been done. Never throws. */
export async function untilBack(work: () => Promise<unknown>): Promise<void> {
  const giveUpAt = performance.now() + PATIENCE_MS;
  while (!(await isDone(work)) && waiting < MAX_WAITING && performance.now() < giveUpAt) {
    waiting++;
    await sleep(RETRY_MS, undefined, { ref: false });
    waiting--;
  }
}

async function isDone(work: () => Promise<unknown>): Promise<boolean> {
  try {
    await work();
    return true;
  } catch (error) {
    // nobody is left to tell of another failure: Redis's own log has it
    return !(error instanceof DomainError && error.code === 'REDIS_UNAVAILABLE');
  }
}

/** Whether a write was sent, and nobody knows what became of it. */
export function isOutcomeUnknown(error: unknown): boolean {
  return error instanceof DomainError && error.code === 'OUTCOME_UNKNOWN';
}
