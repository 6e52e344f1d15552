import { setTimeout as sleep } from 'node:timers/promises';

/** How long the replies of what was sent may take; node-redis would wait for ever for a Redis that says nothing. */
const CLOSE_MS = 1_000;

/** Waits for a connection that closes, or as long as it may take; never throws. */
export async function closeInTime(closed: Promise<unknown>): Promise<void> {
  await Promise.race([closed.catch(() => undefined), sleep(CLOSE_MS, undefined, { ref: false })]);
}
