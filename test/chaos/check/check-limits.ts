import type { CallRecord, History } from '../history.js';
import { LIMITS } from '../load/policies.js';
import type { Violations } from './findings.js';

export interface LimitFigures {
  readonly admitted: number;
  /** The most that one subject was admitted in one window, by Redis's clock. */
  readonly mostInWindow: number;
}

/** Times of Redis are told in whole milliseconds. */
const ROUNDING_MS = 2;

/** I3: no window admits more than its limit, whoever asks whichever service. */
export function checkLimits(history: History, violations: Violations): LimitFigures {
  const { limitResets } = history.row.expect;
  const { window, bucket } = LIMITS;
  const checks = history.calls('limit.window', 'limit.bucket');
  for (const { op, key = '', status } of checks) {
    if (status === 'degraded') violations.add('I3', `${op} of ${key} was guessed without Redis`);
  }
  // of a call and its retries one was charged
  const admitted = firstOfEachRequest(checks.filter(({ status }) => status === 'allowed'));
  const most = window.limit * (1 + limitResets);
  let mostInWindow = 0;
  for (const [key, calls] of subjects(admitted, 'limit.window')) {
    const times = calls.flatMap(({ redisMs }) => (redisMs === undefined ? [] : [{ startMs: redisMs, endMs: redisMs }]));
    const inWindow = mostWithin(times, window.windowMs - ROUNDING_MS);
    mostInWindow = Math.max(mostInWindow, inWindow);
    if (inWindow > most) violations.add('I3', `${key}: ${String(inWindow)} in a window of Redis's clock`);
    const seen = mostWithin(calls, window.windowMs - ROUNDING_MS);
    if (seen > most) violations.add('I3', `${key}: ${String(seen)} in a window as the callers saw it`);
  }
  const rate = bucket.limit / bucket.windowMs;
  for (const [key, calls] of subjects(admitted, 'limit.bucket')) {
    const excess = worstExcess(calls, rate);
    if (excess > bucket.burst * (1 + limitResets)) {
      violations.add('I3', `${key}: ${excess.toFixed(1)} beyond the rate, the burst is ${String(bucket.burst)}`);
    }
  }
  return { admitted: admitted.length, mostInWindow };
}

function firstOfEachRequest(calls: readonly CallRecord[]): CallRecord[] {
  const seen = new Set<string>();
  return calls.filter(({ request }) => {
    if (request === undefined) return true;
    if (seen.has(request)) return false;
    seen.add(request);
    return true;
  });
}

function subjects(calls: readonly CallRecord[], op: string): Map<string, CallRecord[]> {
  const bySubject = new Map<string, CallRecord[]>();
  for (const call of calls) {
    if (call.op !== op) continue;
    const { key = '' } = call;
    bySubject.set(key, [...(bySubject.get(key) ?? []), call]);
  }
  return bySubject;
}

interface Span {
  readonly startMs: number;
  readonly endMs: number;
}

/** The most spans that lie within one stretch of this length. */
function mostWithin(spans: readonly Span[], lengthMs: number): number {
  const inOrder = [...spans].sort((one, other) => one.startMs - other.startMs);
  let most = 0;
  for (const [index, { startMs }] of inOrder.entries()) {
    let count = 0;
    for (let at = index; at < inOrder.length; at++) {
      const span = inOrder[at];
      if (span === undefined || span.startMs > startMs + lengthMs) break;
      if (span.endMs <= startMs + lengthMs) count++;
    }
    most = Math.max(most, count);
  }
  return most;
}

/** By how many the calls of any stretch exceed what the rate gives in it. */
function worstExcess(spans: readonly Span[], perMs: number): number {
  const inOrder = [...spans].sort((one, other) => one.startMs - other.startMs);
  let worst = 0;
  for (const [index, { startMs }] of inOrder.entries()) {
    const ends = inOrder.slice(index).map(({ endMs }) => endMs);
    ends.sort((one, other) => one - other);
    for (const [before, endMs] of ends.entries()) worst = Math.max(worst, before + 1 - perMs * (endMs - startMs));
  }
  return worst;
}
