import { setTimeout as delay } from 'node:timers/promises';
import type { Health } from './health.js';
import type { Logger } from './logger.js';

export interface BootOptions {
  /** Aborts when the client closes. */
  readonly closing: AbortSignal;
  readonly logger: Logger;
  /** The service serves. */
  readonly onServing?: () => void;
}

const ASK_AGAIN_MS = 100;
const ASK_AGAIN_MAX_MS = 2_000;

/** Runs `body` once the service serves, unless the client is closed by then; never throws. */
export async function runAtBoot(
  health: Pick<Health, 'check'>,
  body: () => Promise<void> | void,
  { closing, logger, onServing }: BootOptions,
): Promise<void> {
  const isClosed = (): boolean => closing.aborted;
  await untilServing(health, closing);
  // it may have been closed while the service was asked
  if (isClosed()) return;
  onServing?.();
  try {
    await body();
  } catch (error) {
    // what the end of the client has cut off fails as it should
    logger[isClosed() ? 'debug' : 'error']({ err: error }, 'what runs at boot failed');
  }
}

/** Returns early when the client closes. */
async function untilServing(health: Pick<Health, 'check'>, closing: AbortSignal): Promise<void> {
  for (let waitMs = ASK_AGAIN_MS; !(await serves(health)); waitMs = Math.min(waitMs * 2, ASK_AGAIN_MAX_MS)) {
    await delay(waitMs, undefined, { signal: closing }).catch(() => undefined);
    if (closing.aborted) return;
  }
}

async function serves(health: Pick<Health, 'check'>): Promise<boolean> {
  return (await health.check().catch(() => 'unknown')) === 'serving';
}
