/** What several rounds said, in one figure and its range. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)];
  const lower = sorted[Math.floor((sorted.length - 1) / 2)];
  if (upper === undefined || lower === undefined) throw new Error('the median of nothing');
  return (upper + lower) / 2;
}

export function spread(values: readonly number[]): Spread {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}

/**
 * Divides round by round and takes the median of the quotients: a machine that is slow for a while is slow for both
 * sides of one round, so the ratio survives what the rates do not.
 */
export function ratio(numerators: readonly number[], denominators: readonly number[]): Spread {
  return spread(
    numerators.map((numerator, round) => {
      const denominator = denominators[round];
      if (denominator === undefined) throw new Error('a round without its other side');
      return numerator / denominator;
    }),
  );
}
