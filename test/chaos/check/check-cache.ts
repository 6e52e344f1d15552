import type { CallRecord, History } from '../history.js';
import type { DeclaredLoss } from './declared-loss.js';
import type { Violations } from './findings.js';

/**
 * I4: a read that began after a write or another read was answered sees that one or a later one. Keys have one writer, who
 * counts. I9 for counters: what was acknowledged counts once, what is unknown once or not at all.
 */
export function checkCache(history: History, loss: DeclaredLoss, violations: Violations): void {
  const isStale = staleness(history);
  for (const calls of groups(history.calls('cache.set', 'cache.get'))) {
    checkKey(calls, { loss, isStale, violations });
  }
  for (const calls of groups(history.calls('cache.increment', 'cache.count'))) checkCounter(calls, loss, violations);
}

/** Which reads are of an old master: those of the service that is cut off with it, until it has had time to come over. */
function staleness(history: History): (call: CallRecord) => boolean {
  const { mayBeStale, recoveryMs } = history.row.expect;
  const marks = history.of('fault').map(({ atMs }) => atMs);
  const [fromMs, untilMs] = [Math.min(...marks), Math.max(...marks) + recoveryMs];
  return ({ service, startMs, endMs }) => service === mayBeStale && endMs > fromMs && startMs < untilMs;
}

interface KeyCheck {
  readonly loss: DeclaredLoss;
  readonly isStale: (call: CallRecord) => boolean;
  readonly violations: Violations;
}

function checkKey(calls: readonly CallRecord[], { loss, isStale, violations }: KeyCheck): void {
  const writes = calls.filter(({ op }) => op === 'cache.set');
  const unknown = new Set(writes.flatMap(({ unknown, n }) => (unknown && n !== undefined ? [n] : [])));
  const acknowledged = writes.filter(({ code }) => code === 'OK').map(({ n = 0, endMs }) => ({ n, endMs }));
  const seen = calls
    .filter((call) => call.op === 'cache.get' && call.status === 'found' && !isStale(call))
    .map(({ n = 0, endMs }) => ({ n, endMs }));
  const known = [...acknowledged, ...seen].sort((one, other) => one.endMs - other.endMs);
  let next = 0;
  let lower = 0;
  for (const call of calls) {
    const { op, code, key = '', n = 0, status, startMs, endMs } = call;
    for (; (known[next]?.endMs ?? Infinity) < startMs; next++) lower = Math.max(lower, known[next]?.n ?? 0);
    if (op !== 'cache.get' || code !== 'OK') continue;
    if (status === 'foreign') violations.add('I4', `${key} was answered with what another key holds`);
    const read = status === 'found' ? n : 0;
    const begun = writes.filter((write) => write.startMs < endMs).length;
    if (read > begun) violations.add('I4', `${key} was read as ${String(read)}, which nobody had written`);
    if (isStale(call)) continue;
    // an older write whose answer was lost may still have come through later
    if (read >= lower || (status === 'found' && unknown.has(read))) continue;
    const gone = acknowledged.find((write) => write.n > read)?.endMs ?? startMs;
    if (!loss.isAllowed(gone, endMs)) violations.add('I4', `${key} was read as ${String(read)} after ${String(lower)}`);
  }
}

function checkCounter(calls: readonly CallRecord[], loss: DeclaredLoss, violations: Violations): void {
  const added = calls.filter(({ op }) => op === 'cache.increment');
  const counted = added.filter(({ status }) => status === 'counted');
  const unknown = added.filter((call) => call.unknown).length;
  const { key = '' } = calls[0] ?? {};
  const values = counted.map(({ n }) => n);
  if (loss.isNone && new Set(values).size !== values.length) violations.add('I9', `${key} answered a number twice`);
  const last = calls.filter(({ op, code }) => op === 'cache.count' && code === 'OK').at(-1);
  if (last?.n === undefined) return;
  const fewest = counted.length - loss.countLosable(counted.map(({ endMs }) => endMs));
  if (last.n < fewest) violations.add('I1', `${key} counts ${String(last.n)}, of ${String(fewest)} that were answered`);
  if (last.n > counted.length + unknown) violations.add('I9', `${key} counts ${String(last.n)}: some of them twice`);
}

function groups(calls: readonly CallRecord[]): CallRecord[][] {
  const byKey = new Map<string, CallRecord[]>();
  for (const call of calls) {
    const { key = '' } = call;
    const group = byKey.get(key) ?? [];
    group.push(call);
    byKey.set(key, group);
  }
  return [...byKey.values()];
}
