const MOST_BYTES = 268_435_456;
const LEAST_BYTES = 33_554_432;
/** The heap, answers that are not read and the near cache need the rest. */
const SHARE = 8;

/**
 * How much of one kind of requests a process holds, in bytes, by the memory limit of its container: 32 to 256 MiB. `limit`:
 * 0, undefined or next to infinite where there is none.
 */
export function memoryBound(limit: number | undefined): number {
  if (limit === undefined || limit === 0) return MOST_BYTES;
  return Math.min(MOST_BYTES, Math.max(LEAST_BYTES, Math.floor(limit / SHARE)));
}
