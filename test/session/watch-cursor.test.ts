import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { decodeCursor, encodeCursor, type Place } from '../../src/session/watch/cursor.js';
import { Selection } from '../../src/session/watch/selection.js';

const NOW = 1_764_000_000_000;
const DAY_MS = 86_400_000;

const place: fc.Arbitrary<Place> = fc
  .record({
    ms: fc.integer({ min: NOW - DAY_MS, max: NOW + DAY_MS }),
    sequence: fc.integer({ min: 0, max: 1_000_000 }),
    hasEvents: fc.boolean(),
    seen: fc.integer({ min: 0, max: 2 ** 40 }),
    asOfMs: fc.integer({ min: NOW - DAY_MS, max: NOW + DAY_MS }),
    createdCount: fc.integer({ min: 0, max: 2 ** 40 }),
  })
  .map(({ ms, sequence, hasEvents, ...rest }) => ({
    id: hasEvents ? `${String(ms)}-${String(sequence)}` : '0-0',
    ...rest,
  }));

const all = new Selection({ namespace: 'game', userIds: [], sessionIds: [], all: true });
const ofUsers = new Selection({ namespace: 'game', userIds: ['ada', 'bob', 'eve'], sessionIds: [], all: false });

test.each([
  ['all', all],
  ['users', ofUsers],
])('a cursor of %s says what was put in, and is not too long to come back', (_, selection) => {
  const count = selection.partitions.length;
  fc.assert(
    fc.property(fc.array(place, { minLength: count, maxLength: count }), (places) => {
      const cursor = encodeCursor(selection, places);
      expect(cursor.length).toBeLessThanOrEqual(16_384);
      expect(decodeCursor(selection, cursor)).toEqual(places);
    }),
    { numRuns: 50 },
  );
});

test('whatever was done to a cursor, or came in its place, is found out', () => {
  const places = ofUsers.partitions.map((_, index) => ({ id: '0-0', seen: index, asOfMs: NOW, createdCount: 7 }));
  const cursor = encodeCursor(ofUsers, places);
  fc.assert(
    fc.property(fc.nat(cursor.length - 1), fc.integer({ min: 1, max: 255 }), (at, mask) => {
      const changed = Buffer.from(cursor);
      changed[at] = (changed[at] ?? 0) ^ mask;
      expect(decodeCursor(ofUsers, changed)).toBeUndefined();
      expect(decodeCursor(ofUsers, cursor.subarray(0, at))).toBeUndefined();
    }),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      expect(decodeCursor(ofUsers, Buffer.from(bytes))).toBeUndefined();
    }),
  );
});

test('a cursor is that of a choice, whatever its order, and of no other', () => {
  const request = { namespace: 'game', userIds: ['ada', 'bob', 'eve'], sessionIds: [], all: false };
  const places = ofUsers.partitions.map(() => ({ id: '0-0', seen: 0, asOfMs: NOW, createdCount: 0 }));
  const cursor = encodeCursor(ofUsers, places);
  const same = new Selection({ ...request, userIds: ['eve', 'bob', 'ada', 'bob'] });
  expect(decodeCursor(same, cursor)).toEqual(places);
  for (const other of [
    { ...request, namespace: 'other' },
    { ...request, userIds: ['ada', 'bob'] },
    { ...request, userIds: ['ada', 'bob,eve'] },
    { ...request, sessionIds: ['A'.repeat(24)] },
    { ...request, all: true },
  ]) {
    expect(decodeCursor(new Selection(other), cursor)).toBeUndefined();
  }
});
