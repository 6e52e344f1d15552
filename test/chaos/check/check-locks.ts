import type { CallRecord, HeldRecord, History } from '../history.js';
import type { DeclaredLoss } from './declared-loss.js';
import type { Violations } from './findings.js';

export interface LockFigures {
  readonly grants: number;
  /** How often two believed in the same lock at once, and for how long at most. */
  readonly overlaps: number;
  readonly worstOverlapMs: number;
  /** Writes that the store refused, as a later holder had written. */
  readonly refusedWrites: number;
}

/** I2: tokens grow, stores that look at them never mix two holders' writes, and two hold at once only where it is said. */
export function checkLocks(history: History, loss: DeclaredLoss, violations: Violations): LockFigures {
  const grants = history.calls('lock.acquire', 'lock.hold').filter(({ status }) => status === 'granted');
  for (const ofResource of byKey(grants)) checkTokens(ofResource, violations);
  for (const writes of byKey(history.calls('cache.guarded'))) checkGuardedWrites(writes, loss, violations);
  const overlaps = byKey(history.of('held')).flatMap(overlapsOf);
  if (!history.row.expect.holdersMayOverlap) {
    for (const { key, ms } of overlaps) violations.add('I2', `${key} had two holders for ${ms.toFixed(1)} ms`);
  }
  return {
    grants: grants.length,
    overlaps: overlaps.length,
    worstOverlapMs: Math.max(0, ...overlaps.map(({ ms }) => ms)),
    refusedWrites: checkStore(history, violations) + refusals(history),
  };
}

/** A grant that began when another had been answered has the higher token, and no token is granted twice. */
function checkTokens(grants: readonly CallRecord[], violations: Violations): void {
  const answered = [...grants].sort((one, other) => one.endMs - other.endMs);
  const seen = new Set<number>();
  let highest = 0;
  let next = 0;
  for (const { key = '', token = 0, startMs } of grants) {
    for (; (answered[next]?.endMs ?? Infinity) < startMs; next++) {
      highest = Math.max(highest, answered[next]?.token ?? 0);
    }
    if (seen.has(token)) violations.add('I2', `${key}: token ${String(token)} was granted twice`);
    else if (token <= highest) violations.add('I2', `${key}: token ${String(token)} came after ${String(highest)}`);
    seen.add(token);
  }
}

/** The store takes each token from one holder only, and none after a higher one. */
function checkStore(history: History, violations: Violations): number {
  const stores = byKey(history.of('store'));
  for (const writes of stores) {
    const holders = new Map<number, string>();
    let highest = 0;
    for (const { key, token, holder, accepted } of writes) {
      if (accepted !== token >= highest) violations.add('I2', `the store of ${key} took ${String(token)} wrongly`);
      if (!accepted) continue;
      highest = token;
      const first = holders.get(token) ?? holder;
      holders.set(token, first);
      if (first !== holder) violations.add('I2', `${first} and ${holder} wrote to ${key} with ${String(token)}`);
    }
  }
  return stores.flat().filter(({ accepted }) => !accepted).length;
}

/** A guarded write with a lower token than one that was answered before it began is refused. */
function checkGuardedWrites(writes: readonly CallRecord[], loss: DeclaredLoss, violations: Violations): void {
  const stored = writes.filter(({ status }) => status === 'stored');
  const answered = [...stored].sort((one, other) => one.endMs - other.endMs);
  let highest = { token: 0, endMs: 0 };
  let next = 0;
  for (const { key = '', token = 0, startMs } of stored) {
    for (; (answered[next]?.endMs ?? Infinity) < startMs; next++) {
      const { token: known = 0, endMs = 0 } = answered[next] ?? {};
      if (known > highest.token) highest = { token: known, endMs };
    }
    if (token >= highest.token || loss.isBetween(highest.endMs, startMs)) continue;
    violations.add('I2', `the cache took a write of ${key} with ${String(token)} after ${String(highest.token)}`);
  }
}

function refusals(history: History): number {
  return history.calls('cache.guarded').filter(({ status }) => status === 'refused').length;
}

function overlapsOf(held: readonly HeldRecord[]): { readonly key: string; readonly ms: number }[] {
  const inOrder = [...held].sort((one, other) => one.startMs - other.startMs);
  const overlaps = [];
  let until = 0;
  for (const { key, startMs, endMs } of inOrder) {
    if (startMs < until) overlaps.push({ key, ms: Math.min(until, endMs) - startMs });
    until = Math.max(until, endMs);
  }
  return overlaps;
}

function byKey<Item extends { readonly key?: string | undefined }>(items: readonly Item[]): Item[][] {
  const groups = new Map<string, Item[]>();
  for (const item of items) {
    const group = groups.get(item.key ?? '') ?? [];
    group.push(item);
    groups.set(item.key ?? '', group);
  }
  return [...groups.values()];
}
