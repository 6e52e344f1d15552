import { setTimeout as delay } from 'node:timers/promises';
import type { Health } from './health.js';
import type { Logger } from './logger.js';

export interface BootOptions {
  /** Aborts when the client closes. */
  readonly closing: AbortSignal;
  readonly logger: Logger;
}

const ASK_AGAIN_MS = 100;
const ASK_AGAIN_MAX_MS = 2_000;

/** Runs `body` once the service serves; never throws. */
export async function runAtBoot(
  health: Health,
  body: () => Promise<void> | void,
  { closing, logger }: BootOptions,
): Promise<void> {
  for (let waitMs = ASK_AGAIN_MS; !(await serves(health)); waitMs = Math.min(waitMs * 2, ASK_AGAIN_MAX_MS)) {
    await delay(waitMs, undefined, { signal: closing }).catch(() => undefined);
    if (closing.aborted) return;
  }
  try {
    await body();
  } catch (error) {
    if (!closing.aborted) logger.error({ err: error }, 'what runs at boot failed');
  }
}

async function serves(health: Health): Promise<boolean> {
  return (await health.check().catch(() => 'unknown')) === 'serving';
}
