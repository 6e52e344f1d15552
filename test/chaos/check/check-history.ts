import type { History } from '../history.js';
import { checkCache } from './check-cache.js';
import { checkLimits, type LimitFigures } from './check-limits.js';
import { checkLocks, type LockFigures } from './check-locks.js';
import { checkRequests } from './check-requests.js';
import { checkSessions, type SessionFigures } from './check-sessions.js';
import { checkTime, type TimeFigures } from './check-time.js';
import { DeclaredLoss } from './declared-loss.js';
import { Violations, type Violation } from './findings.js';

export interface Verdict {
  readonly violations: readonly Violation[];
  readonly sessions: SessionFigures;
  readonly locks: LockFigures;
  readonly limits: LimitFigures;
  readonly time: TimeFigures;
  /** How long before its fault the oldest write that was lost had been acknowledged. */
  readonly oldestLossMs: number | undefined;
  /** The heaviest process of the service at the end of its first second, and at most. */
  readonly firstRssMb: number;
  readonly mostRssMb: number;
  /** What the row has measured itself. */
  readonly figures: readonly string[];
}

/** Holds a history against all invariants, by counting. */
export function checkHistory(history: History): Verdict {
  const violations = new Violations();
  const loss = new DeclaredLoss(history);
  const sessions = checkSessions(history, loss, violations);
  checkCache(history, loss, violations);
  checkRequests(history, loss, violations);
  const memory = history.of('memory').map(({ rssMb }) => rssMb);
  const mostRssMb = Math.max(0, ...memory);
  const { maxRssMb } = history.row.expect;
  if (mostRssMb > maxRssMb) violations.add('I6', `a service of ${String(mostRssMb)} MB, at most ${String(maxRssMb)}`);
  const problems = history.of('books').flatMap((books) => books.problems);
  if (!history.row.expect.booksMayDiffer) for (const problem of problems) violations.add('I8', problem);
  for (const { what, holds } of history.of('claim')) if (!holds) violations.add('row', what);
  return {
    sessions,
    locks: checkLocks(history, loss, violations),
    limits: checkLimits(history, violations),
    time: checkTime(history, violations),
    oldestLossMs: loss.oldestMs,
    firstRssMb: memory[0] ?? 0,
    mostRssMb,
    figures: history.of('figure').map(({ what, value }) => `${what} ${value}`),
    violations: violations.list,
  };
}
