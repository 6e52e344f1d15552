import { performance } from 'node:perf_hooks';

/** What a timer takes. */
const LONGEST_MS = 2_000_000_000;

/** Resolves when the work is done, and at this moment of `performance.now()` at the latest; what is not done then goes on. */
export async function noLaterThan(deadlineAt: number, work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, Math.min(deadlineAt - performance.now(), LONGEST_MS));
  });
  try {
    await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
