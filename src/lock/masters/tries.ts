import { performance } from 'node:perf_hooks';
import type { ParkableCall } from '../../redis/call.js';
import type { Pauses } from './pauses.js';

/** What stood in the way of a try; of a grant undefined. */
export interface Obstacle {
  /** `split`: nobody has a majority. */
  readonly kind: 'held' | 'split';
  /** How long the holder's lease lasts yet; 0: nobody knows. */
  readonly leftMs: number;
}

/** What is left of the call's deadline for its answer. */
const ANSWER_MARGIN_MS = 50;
/** So often a call asks that finds no majority of one mind: two that ask at once can take it from each other. */
const MAX_SPLIT_TRIES = 4;
/** Before a further try of such a call, jittered; twice as much before each one after. */
const SPLIT_PAUSE_MS = 4;
/** Before a further try of a call that waits for a holder, jittered. */
const HELD_PAUSE_MS = 50;

export interface TryOptions {
  /** How long the call may wait for a holder; not past its deadline. 0: not at all. */
  readonly waitMs: number;
  readonly call: ParkableCall;
  readonly pauses: Pauses;
}

/** Asks for a lock until nothing is in the way or the time is over; answers the last try. */
export async function tryUntilGranted<Outcome>(
  attempt: () => Promise<Outcome>,
  obstacleOf: (outcome: Outcome) => Obstacle | undefined,
  { waitMs, call, pauses }: TryOptions,
): Promise<Outcome> {
  const lastAt = call.deadlineAt - ANSWER_MARGIN_MS;
  const giveUpAt = Math.min(performance.now() + waitMs, lastAt);
  const isParked = waitMs > 0 && !pauses.isDraining && call.park();
  const ownPauses = pauses.open(call);
  try {
    for (let tries = 1; ; tries++) {
      const outcome = await attempt();
      const obstacle = obstacleOf(outcome);
      if (obstacle === undefined) return outcome;
      const isSplit = obstacle.kind === 'split' && tries < MAX_SPLIT_TRIES;
      const pauseMs = isSplit ? splitPauseMs(tries) : heldPauseMs(obstacle.leftMs);
      const resumesAt = performance.now() + pauseMs;
      const mayWait = isSplit ? resumesAt < lastAt : isParked && resumesAt < giveUpAt;
      if (!mayWait || !(await ownPauses.pause(pauseMs))) return outcome;
    }
  } finally {
    if (isParked) call.unpark();
  }
}

function splitPauseMs(tries: number): number {
  return Math.random() * SPLIT_PAUSE_MS * 2 ** tries;
}

/** Not before the holder's lease can be over, where that is soon. */
function heldPauseMs(leftMs: number): number {
  const jitteredMs = HELD_PAUSE_MS * (0.5 + Math.random());
  return leftMs > 0 && leftMs < jitteredMs ? leftMs + 1 : jitteredMs;
}
