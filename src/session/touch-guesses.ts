import type { PackedSession } from './record.js';

/** 1 MiB; more sessions than slots share them. A power of two. */
const SLOTS = 131_072;
const FNV_PRIME = 0x01000193;
/** A session id ends with random characters; so many of them are more than enough to choose a slot. */
const CHARS = 5;

/**
 * Whether a plain read will do to validate a session, or the script will be needed for its touch. A guess: another process
 * may have touched the session, and another session may have the slot. A wrong one costs a trip to Redis or the price of the
 * script, never a wrong answer. A session that this process never saw needs the script.
 */
export class TouchGuesses {
  /** On Redis's clock. */
  private readonly plainUntilMs = new Float64Array(SLOTS);

  isPlain(sessionId: string, nowMs: number): boolean {
    return nowMs < (this.plainUntilMs[slotOf(sessionId)] ?? 0);
  }

  note(session: PackedSession): void {
    this.plainUntilMs[slotOf(session.sessionId)] = session.plainUntilMs;
  }
}

function slotOf(sessionId: string): number {
  let hash = 0;
  for (let index = sessionId.length - CHARS; index < sessionId.length; index++) {
    hash = Math.imul(hash ^ sessionId.charCodeAt(index), FNV_PRIME);
  }
  return (hash ^ (hash >>> 15)) & (SLOTS - 1);
}
