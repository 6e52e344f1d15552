import type { CallRecord, StallRecord } from '../history.js';

export interface Span {
  readonly fromMs: number;
  readonly untilMs: number;
}

/** The stalls of those on whose clock a call ends: its caller, and the service where the caller leaves it to that. */
export function stallsOf({ service, endedBy }: CallRecord, stalls: readonly StallRecord[]): StallRecord[] {
  return stalls.filter((stall) => stall.who === 'client' || (endedBy === 'service' && stall.service === service));
}

/** For how long of these spans somebody stood still; what two did at once counts once. */
export function stoodStillMs(stalls: readonly StallRecord[], spans: readonly Span[]): number {
  const pieces = stalls.flatMap(({ atMs, ms }) =>
    spans.map(({ fromMs, untilMs }) => ({
      // a process is seen when it goes on
      fromMs: Math.max(fromMs, atMs - ms),
      untilMs: Math.min(untilMs, atMs),
    })),
  );
  pieces.sort((one, other) => one.fromMs - other.fromMs);
  let countedMs = 0;
  let reachedMs = 0;
  for (const { fromMs, untilMs } of pieces) {
    countedMs += Math.max(0, untilMs - Math.max(fromMs, reachedMs));
    reachedMs = Math.max(reachedMs, untilMs);
  }
  return countedMs;
}
