import type { CallRecord, History } from '../history.js';
import { stallsOf, stoodStillMs } from './stalls.js';
import type { Violations } from './findings.js';

export interface TimeFigures {
  readonly calls: number;
  /** How many failed with each status. */
  readonly failed: ReadonlyMap<string, number>;
  /** By how much a call ended behind its deadline, at worst; as the clock says. */
  readonly worstOverrunMs: number;
  /** The same without the time for which its caller, or the service that was to end it, stood still for want of a processor. */
  readonly worstOwnOverrunMs: number;
  /** From the end of a fault until at least 99.9 % succeed. */
  readonly recoveryMs: number;
  /** The 99th percentile of what succeeded, before the first fault and from there to the end of the last. */
  readonly p99BeforeMs: number;
  readonly p99DuringMs: number;
}

/** What an answer may take from the deadline to the caller. */
const OVERRUN_MS = 100;
const MAY_FAIL = 0.001;

/** I5: calls end by their deadline. I7: they fail only while something is wrong, and only in the ways that are said. */
export function checkTime(history: History, violations: Violations): TimeFigures {
  const calls = history.calls();
  const stalls = history.of('stall');
  let worstOverrunMs = 0;
  let worstOwnOverrunMs = 0;
  for (const call of calls) {
    const deadlineMs = call.startMs + call.timeoutMs;
    const overrunMs = call.endMs - deadlineMs;
    worstOverrunMs = Math.max(worstOverrunMs, overrunMs);
    if (overrunMs <= worstOwnOverrunMs) continue;
    // who ends a call counts from when it took it up, so what kept it from that counts as well as what kept it from ending
    const windows = [
      { fromMs: call.startMs, untilMs: call.startMs + overrunMs },
      { fromMs: deadlineMs, untilMs: call.endMs },
    ];
    const ownMs = overrunMs - stoodStillMs(stallsOf(call, stalls), windows);
    worstOwnOverrunMs = Math.max(worstOwnOverrunMs, ownMs);
    if (ownMs > OVERRUN_MS) violations.add('I5', `${call.op} ended ${ownMs.toFixed(0)} ms behind its deadline`);
  }
  checkCodes(history, calls, violations);
  return {
    calls: calls.length,
    failed: countFailures(calls),
    worstOverrunMs,
    worstOwnOverrunMs,
    recoveryMs: checkRecovery(history, calls, violations),
    ...latencies(history, calls),
  };
}

function latencies(history: History, calls: readonly CallRecord[]): Pick<TimeFigures, 'p99BeforeMs' | 'p99DuringMs'> {
  const marks = history.of('fault').map(({ atMs }) => atMs);
  const [fromMs, untilMs] = [Math.min(...marks), Math.max(...marks)];
  // a lock may be waited for
  const quick = calls.filter(({ op, code }) => code === 'OK' && op !== 'lock.acquire' && op !== 'lock.hold');
  const p99 = (some: readonly CallRecord[]): number => {
    const took = some.map(({ startMs, endMs }) => endMs - startMs).sort((one, other) => one - other);
    return took[Math.floor(took.length * 0.99)] ?? 0;
  };
  return {
    p99BeforeMs: p99(quick.filter(({ endMs }) => endMs < fromMs)),
    p99DuringMs: p99(quick.filter(({ startMs, endMs }) => endMs >= fromMs && startMs < untilMs)),
  };
}

function checkCodes({ row }: History, calls: readonly CallRecord[], violations: Violations): void {
  const allowed = new Set(['OK', ...row.expect.mayFailWith]);
  const unaffected = new Set(row.expect.unaffected);
  for (const { op, code } of calls) {
    if (!allowed.has(code) || (code !== 'OK' && unaffected.has(op))) violations.add('I7', `${op} failed with ${code}`);
  }
}

function countFailures(calls: readonly CallRecord[]): Map<string, number> {
  const failed = new Map<string, number>();
  for (const { code } of calls) if (code !== 'OK') failed.set(code, (failed.get(code) ?? 0) + 1);
  return failed;
}

function checkRecovery(history: History, calls: readonly CallRecord[], violations: Violations): number {
  const faults = history.of('fault').sort((one, other) => one.atMs - other.atMs);
  const firstMs = faults[0]?.atMs ?? Infinity;
  const before = calls.filter(({ endMs }) => endMs < firstMs);
  const failedBefore = before.filter(({ code }) => code !== 'OK').length;
  if (failedBefore > before.length * MAY_FAIL) {
    violations.add('I7', `${String(failedBefore)} of ${String(before.length)} calls failed before anything was wrong`);
  }
  let worstMs = 0;
  for (const [index, { phase, atMs, what }] of faults.entries()) {
    if (phase !== 'end') continue;
    const nextMs = faults[index + 1]?.atMs ?? Infinity;
    const after = calls.filter(({ startMs }) => startMs >= atMs && startMs < nextMs);
    if (after.length === 0) violations.add('I7', `nobody asked after ${what}`);
    const recoveryMs = recoveryOf(after, atMs);
    worstMs = Math.max(worstMs, recoveryMs);
    if (recoveryMs > history.row.expect.recoveryMs) {
      violations.add('I7', `after ${what} calls failed for ${recoveryMs.toFixed(0)} ms`);
    }
  }
  return worstMs;
}

/** How long after this moment the last calls began of which more than a thousandth failed. */
function recoveryOf(calls: readonly CallRecord[], fromMs: number): number {
  let failed = 0;
  let recoveredMs = fromMs;
  for (let index = calls.length - 1; index >= 0; index--) {
    const call = calls[index];
    if (call?.code === 'OK' || call === undefined) continue;
    failed++;
    if (failed > (calls.length - index) * MAY_FAIL) recoveredMs = Math.max(recoveredMs, call.startMs);
  }
  return recoveredMs - fromMs;
}
