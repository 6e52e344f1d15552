import { setTimeout as sleep } from 'node:timers/promises';
import type { Call } from '../redis/call.js';
import type { EndingWords } from './store.js';
import type { DestroyPass } from './sweep-scripts.js';
import { eachOf, PARTITIONS, type SweepStore } from './sweep-store.js';

/** How far the destruction of all sessions has come. */
export interface DestroyProgress {
  /** What this call has ended. */
  readonly destroyedCount: number;
  readonly revokedAtMs: number;
  readonly done: boolean;
}

const PROGRESS_MS = 500;

interface Place {
  readonly partition: number;
  readonly pass: DestroyPass | undefined;
}

/**
 * Ends every session that is there: first marks all partitions, within milliseconds, then ends their sessions step by
 * step, one step in every partition before the second in any. Each step puts the time off when the sweepers take a
 * partition over, so that they do so only when this call is gone. Throws domain errors; what was marked is then ended by
 * the sweepers.
 */
export async function* destroyAllSessions(
  store: SweepStore,
  words: EndingWords,
  call: Call,
): AsyncGenerator<DestroyProgress, void> {
  const notBefore = await Promise.all(PARTITIONS.map((partition) => store.revoke(partition, words, call)));
  // what all partitions refuse
  const revokedAtUs = notBefore.reduce((earliest, each) => (each < earliest ? each : earliest));
  const revokedAtMs = Number(revokedAtUs / 1_000n);
  yield { destroyedCount: 0, revokedAtMs, done: false };

  let destroyedCount = 0;
  let abandoned = false;
  const destroyIn = async ({ partition, pass }: Place): Promise<Place | undefined> => {
    if (abandoned) return undefined;
    const step = await store.destroySome(partition, pass, call);
    destroyedCount += step.destroyed;
    return step.more ? { partition, pass: step.pass } : undefined;
  };
  const work = eachOf<Place>(
    PARTITIONS.map((partition) => ({ partition, pass: undefined })),
    destroyIn,
  );
  // awaited below, unless the call ends before
  work.catch(() => undefined);
  const done = work.then(() => true);
  try {
    while (!(await Promise.race([done, sleep(PROGRESS_MS, false, { ref: false })]))) {
      yield { destroyedCount, revokedAtMs, done: false };
    }
    yield { destroyedCount, revokedAtMs, done: true };
  } finally {
    abandoned = true;
  }
}
