import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { checkHistory } from './check/check-history.js';
import type { Invariant } from './check/findings.js';
import { History, readHistory, type CallRecord, type Expectations, type HistoryRecord } from './history.js';
import { STRICT } from './row.js';
import { ALL_ROWS } from './rows/all-rows.js';
import { runRow } from './run-row.js';

/** The checker of the chaos runs: a history that is sound passes, and one that lacks any promise does not. */

const TIMEOUT_MS = 1_000;
/** When the fault of these histories begins and ends. */
const [FAULT_MS, WELL_MS] = [1_000, 2_000];

function call(op: string, startMs: number, more: Partial<CallRecord> = {}): CallRecord {
  const always = { kind: 'call', op, service: 0, startMs, timeoutMs: TIMEOUT_MS, endedBy: 'client' } as const;
  return { ...always, endMs: startMs + 5, code: 'OK', unknown: false, ...more };
}

const failed = { code: 'UNAVAILABLE', unknown: false };
const lost = { code: 'DEADLINE_EXCEEDED', unknown: true };

/** 20 units at once, which is the limit of the window, and the next 20 when it is over. */
function admitted(firstMs: number): CallRecord[] {
  return Array.from({ length: 20 }, (_, unit) => {
    const startMs = firstMs + unit;
    return call('limit.window', startMs, { key: 'user:a', status: 'allowed', redisMs: startMs + 2 });
  });
}

const SOUND: readonly HistoryRecord[] = [
  { kind: 'fault', phase: 'begin', what: 'kill', atMs: FAULT_MS },
  { kind: 'fault', phase: 'end', what: 'kill', atMs: WELL_MS },

  call('session.create', 100, { key: 's1', request: 'r1', status: 'created', n: 0 }),
  call('session.create', 110, { key: 's1', request: 'r1', status: 'created', n: 0 }),
  call('session.update', 200, { key: 's1', n: 1, status: 'done' }),
  call('session.update', 1_100, { key: 's1', n: 2, ...lost, endMs: 2_100 }),
  call('session.read', 2_200, { key: 's1', n: 1, status: 'found' }),
  call('session.update', 2_300, { key: 's1', n: 3, status: 'done' }),
  call('session.create', 300, { key: 's2', request: 'r2', status: 'created', n: 0 }),
  call('session.destroy', 400, { key: 's2', status: 'destroyed' }),
  call('session.verify', 5_000, { key: 's1', n: 3, status: 'found' }),
  call('session.verify', 5_001, { key: 's2', status: 'missing' }),

  call('lock.acquire', 100, { key: 'l', token: 10, status: 'granted' }),
  { kind: 'store', key: 'l', token: 10, holder: 'a', accepted: true, atMs: 110 },
  call('cache.guarded', 120, { key: 'l', token: 10, status: 'stored' }),
  { kind: 'held', key: 'l', token: 10, startMs: 105, endMs: 150 },
  call('lock.acquire', 160, { key: 'l', token: 11, status: 'granted' }),
  { kind: 'store', key: 'l', token: 11, holder: 'b', accepted: true, atMs: 170 },
  call('cache.guarded', 180, { key: 'l', token: 11, status: 'stored' }),
  { kind: 'store', key: 'l', token: 10, holder: 'a', accepted: false, atMs: 190 },
  call('cache.guarded', 190, { key: 'l', token: 10, status: 'refused' }),
  { kind: 'held', key: 'l', token: 11, startMs: 165, endMs: 200 },

  ...admitted(100),
  call('limit.window', 300, { key: 'user:a', status: 'denied' }),
  ...admitted(2_500),
  ...Array.from({ length: 10 }, () => call('limit.bucket', 100, { key: 'user:b', status: 'allowed' })),

  call('cache.set', 100, { key: 'k', n: 1, status: 'stored' }),
  call('cache.get', 200, { key: 'k', n: 1, status: 'found' }),
  call('cache.set', 1_100, { key: 'k', n: 2, ...lost, endMs: 2_100 }),
  call('cache.set', 2_200, { key: 'k', n: 3, status: 'stored' }),
  call('cache.get', 2_300, { key: 'k', n: 3, status: 'found' }),
  call('cache.increment', 100, { key: 'c', n: 1, status: 'counted' }),
  call('cache.increment', 1_100, { key: 'c', ...lost, endMs: 2_100 }),
  call('cache.increment', 2_200, { key: 'c', n: 2, status: 'counted' }),
  call('cache.count', 5_000, { key: 'c', n: 2, status: 'found' }),

  call('cache.get', 1_200, { key: 'other', ...failed }),
  ...Array.from({ length: 2_000 }, (_, index) => call('cache.get', 3_000 + index, { key: 'x', status: 'missing' })),
  { kind: 'stall', who: 'client', fromMs: 1_000, atMs: 1_010, ms: 10 },
  { kind: 'memory', service: 0, rssMb: 120, atMs: 1_000 },
  { kind: 'books', sessions: 1, problems: [] },
  { kind: 'claim', what: 'it said so', holds: true },
];

function judge(records: readonly HistoryRecord[], expected: Partial<Expectations> = {}) {
  const row = { id: 'F0', what: 'nothing', seed: 1, expect: { ...STRICT, ...expected } };
  return checkHistory(new History(row, records));
}

/** The sound history with one call changed: the first of an operation that fits. */
function changed(op: string, fits: Partial<CallRecord>, change: Partial<CallRecord>): HistoryRecord[] {
  const isIt = (record: HistoryRecord): boolean =>
    record.kind === 'call' &&
    record.op === op &&
    Object.entries(fits).every(([name, value]) => Object.entries(record).some(([n, v]) => n === name && v === value));
  const index = SOUND.findIndex(isIt);
  if (index === -1) throw new Error('no such call');
  return SOUND.map((record, at) => (at === index && record.kind === 'call' ? { ...record, ...change } : record));
}

const and = (...more: readonly HistoryRecord[]): HistoryRecord[] => [...SOUND, ...more];

const BROKEN: readonly (readonly [string, Invariant, readonly HistoryRecord[]])[] = [
  ['a session that was acknowledged is missing', 'I1', changed('session.verify', { key: 's1' }, { status: 'missing' })],
  ['an acknowledged update is missing', 'I1', changed('session.verify', { key: 's1' }, { n: 1 })],
  ['data that nobody wrote', 'I1', changed('session.verify', { key: 's1' }, { n: 0 })],
  ['a session that was ended is back', 'I1', changed('session.verify', { key: 's2' }, { status: 'found', n: 0 })],
  ['a session is missing for a while', 'I1', changed('session.read', { key: 's1' }, { status: 'missing' })],
  ['an acknowledged count is missing', 'I1', changed('cache.count', { key: 'c' }, { n: 1 })],
  ['a token is granted twice', 'I2', changed('lock.acquire', { token: 11 }, { token: 10 })],
  ['a token is lower than one before', 'I2', changed('lock.acquire', { token: 11 }, { token: 9 })],
  ['two hold a lock at once', 'I2', and({ kind: 'held', key: 'l', token: 12, startMs: 199, endMs: 210 })],
  [
    'a store takes a write of an old holder',
    'I2',
    and({ kind: 'store', key: 'l', token: 10, holder: 'a', accepted: true, atMs: 200 }),
  ],
  [
    'two holders write with one token',
    'I2',
    and({ kind: 'store', key: 'l', token: 11, holder: 'c', accepted: true, atMs: 200 }),
  ],
  [
    'the cache takes a write of an old holder',
    'I2',
    changed('cache.guarded', { status: 'refused' }, { status: 'stored' }),
  ],
  [
    'a window admits one more than its limit',
    'I3',
    and(call('limit.window', 400, { key: 'user:a', status: 'allowed', redisMs: 402 })),
  ],
  [
    'a window admits one more as its callers saw it',
    'I3',
    and(call('limit.window', 400, { key: 'user:a', status: 'allowed', redisMs: 9_402 })),
  ],
  [
    'a bucket admits one more than its burst',
    'I3',
    and(call('limit.bucket', 100, { key: 'user:b', status: 'allowed' })),
  ],
  ['a limit is guessed', 'I3', and(call('limit.bucket', 9_000, { key: 'user:b', status: 'degraded' }))],
  ['a read is older than a write before it', 'I4', changed('cache.get', { n: 3 }, { n: 1 })],
  ['a read is a miss after a write', 'I4', changed('cache.get', { n: 3 }, { status: 'missing' })],
  ['a read is of what nobody wrote', 'I4', changed('cache.get', { n: 3 }, { n: 4 })],
  ['a read answers what another key holds', 'I4', changed('cache.get', { n: 3 }, { status: 'foreign' })],
  ['a read answers another session', 'I1', changed('session.verify', { key: 's1' }, { status: 'foreign' })],
  ['a call ends late', 'I5', changed('cache.get', { n: 3 }, { endMs: 2_300 + TIMEOUT_MS + 101 })],
  ['a service is too heavy', 'I6', and({ kind: 'memory', service: 1, rssMb: 500, atMs: 1_000 })],
  ['calls fail long after the fault', 'I7', and(...[6_998, 6_999, 7_001].map((ms) => call('cache.get', ms, failed)))],
  ['calls fail before the fault', 'I7', and(call('cache.get', 900, failed))],
  ['a call fails in a way that nobody said', 'I7', and(call('cache.get', 1_500, { code: 'INTERNAL', unknown: true }))],
  ['an index and a record disagree', 'I8', and({ kind: 'books', sessions: 1, problems: ['s1 is in no index'] })],
  ['a retry makes another session', 'I9', changed('session.create', { startMs: 110 }, { key: 's3' })],
  ['a count is counted twice', 'I9', changed('cache.count', { key: 'c' }, { n: 4 })],
  ['two counts are answered alike', 'I9', changed('cache.increment', { n: 2 }, { n: 1 })],
  ['what only this row promises', 'row', and({ kind: 'claim', what: 'it said so', holds: false })],
];

test('a sound history holds', () => {
  const { violations, sessions, locks, limits, time } = judge(SOUND);
  expect(violations).toEqual([]);
  expect(sessions).toEqual({ sessions: 2, lostSessions: 0, lostUpdates: 0 });
  expect(locks).toMatchObject({ grants: 2, overlaps: 0, refusedWrites: 2 });
  expect(limits).toMatchObject({ admitted: 50, mostInWindow: 20 });
  expect(time.failed).toEqual(
    new Map([
      ['DEADLINE_EXCEEDED', 3],
      ['UNAVAILABLE', 1],
    ]),
  );
});

test.each(BROKEN)('%s: %s is broken', (_, invariant, records) => {
  expect(judge(records).violations.map((violation) => violation.invariant)).toContain(invariant);
});

test('what a row says may be lost is no violation, and a moment older is one', () => {
  // its last update was acknowledged 795 ms before the fault
  const history = changed('session.read', { key: 's1' }, { n: 0 });
  expect(judge(history, { mayLose: 795 }).violations).toEqual([]);
  expect(judge(history, { mayLose: 795 }).oldestLossMs).toBe(795);
  expect(judge(history, { mayLose: 794 }).violations).toMatchObject([{ invariant: 'I1' }]);
  expect(judge(history, { mayLose: 'anything' }).violations).toEqual([]);
});

test('what is to go on while other calls fail may not fail', () => {
  expect(judge(SOUND, { unaffected: ['lock.acquire'] }).violations).toEqual([]);
  expect(judge(SOUND, { unaffected: ['cache.get'] }).violations).toMatchObject([{ invariant: 'I7' }]);
});

test('who is cut off with an old master may read what it has, and nobody else may', () => {
  const old = and(call('cache.set', 1_500, { key: 'k', n: 3, status: 'stored', service: 1 }));
  const readBy = (service: number): HistoryRecord[] => [
    ...old.filter((record) => !(record.kind === 'call' && record.op === 'cache.set' && record.startMs === 2_200)),
    call('cache.get', 1_600, { key: 'k', n: 1, status: 'found', service }),
  ];
  expect(judge(readBy(0), { mayBeStale: 0 }).violations).toEqual([]);
  expect(judge(readBy(1), { mayBeStale: 0 }).violations).toMatchObject([{ invariant: 'I4' }]);
  expect(judge(readBy(0)).violations).toMatchObject([{ invariant: 'I4' }]);
});

test('the time for which the caller stood still is not held against a deadline, and that of another service is', () => {
  const late = changed('cache.get', { n: 3 }, { endMs: 3_500 });
  const stall = { kind: 'stall', fromMs: 3_350, atMs: 3_490, ms: 120 } as const;
  const ofCaller: HistoryRecord = { ...stall, who: 'client' };
  expect(judge(late).violations).toMatchObject([{ invariant: 'I5' }]);
  expect(judge([...late, ofCaller]).violations).toEqual([]);
  expect(judge([...late, ofCaller]).time).toMatchObject({ worstOverrunMs: 200, worstOwnOverrunMs: 80 });
  // the caller's own clock ends it, so no service can be to blame
  expect(judge([...late, { ...stall, who: 'service', service: 0 }]).violations).toMatchObject([{ invariant: 'I5' }]);
});

test('where the service is to end a call its own stalls count, once with those of the caller', () => {
  const late = changed('cache.get', { n: 3 }, { endMs: 3_500, endedBy: 'service' });
  const stalled = (atMs: number, service: number): HistoryRecord => {
    return { kind: 'stall', who: 'service', service, fromMs: atMs - 150, atMs, ms: 120 };
  };
  const ofCaller: HistoryRecord = { kind: 'stall', who: 'client', fromMs: 3_350, atMs: 3_490, ms: 120 };
  expect(judge([...late, stalled(3_490, 0)]).time.worstOwnOverrunMs).toBe(80);
  expect(judge([...late, stalled(3_490, 0), ofCaller]).time.worstOwnOverrunMs).toBe(80);
  expect(judge([...late, stalled(3_490, 1)]).violations).toMatchObject([{ invariant: 'I5' }]);
  // long before the deadline, and long after the call was taken up
  expect(judge([...late, stalled(3_000, 0)]).violations).toMatchObject([{ invariant: 'I5' }]);
});

test('a short run: Redis killed with -9, nothing lost', async () => {
  const row = ALL_ROWS.find(({ id }) => id === 'F1-always');
  if (row === undefined) throw new Error('no such row');
  const folder = mkdtempSync(join(tmpdir(), 'shardkeep-test-chaos-'));
  const short = { ...row, setup: { ...row.setup, afterMs: 1_000 } };
  // a machine under load recovers later
  const few = { sessions: 4, locks: 2, holders: 1, limits: 2, caches: 3 };
  await runRow(
    { ...short, expect: { ...row.expect, recoveryMs: 20_000 } },
    { seed: 1, folder, actors: few, calls: 100 },
  );
  const { violations, sessions, time } = checkHistory(readHistory(folder));
  expect(violations).toEqual([]);
  expect(sessions).toMatchObject({ lostSessions: 0, lostUpdates: 0 });
  expect(time.failed.size).toBeGreaterThan(0);
  rmSync(folder, { recursive: true });
});
