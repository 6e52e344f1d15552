import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { readEventsScript, type ReadEventsReply } from '../../src/session/watch-scripts.js';
import { rawRedis, type RawRedis } from '../support/raw-redis.js';
import { randomNamespace } from '../support/service.js';

/** The script that reads a partition's events, against a model that knows what was lost. */

let raw: RawRedis;
beforeAll(async () => {
  raw = await rawRedis('standalone');
});
afterAll(async () => {
  await raw.close();
});

interface Reader {
  readonly id: string;
  readonly seen: number;
}

/** Sends a script of one key past the service. */
async function read(key: string, position: Reader | undefined, maxEvents: number): Promise<ReadEventsReply> {
  const { script, args } = readEventsScript.bind(
    { events: key },
    { afterId: position?.id ?? '', seen: String(position?.seen ?? 0), maxEvents: String(maxEvents) },
  );
  // EVAL takes its text and the number of keys before the key
  const reply = await raw.command('EVAL', script.source, '1', key, ...args);
  return script.parse(reply);
}

type Step =
  | { readonly kind: 'add'; readonly count: number }
  | { readonly kind: 'trim'; readonly keep: number }
  | { readonly kind: 'lose' }
  | { readonly kind: 'read'; readonly reader: number; readonly page: number }
  | { readonly kind: 'open'; readonly reader: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('add' as const), count: fc.integer({ min: 1, max: 5 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('trim' as const), keep: fc.integer({ min: 0, max: 4 }) }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'lose' as const }) },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('read' as const),
      reader: fc.nat(2),
      page: fc.integer({ min: 1, max: 4 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('open' as const), reader: fc.nat(2) }) },
);

test('a reader is told every event once, in order, or that something behind it is missing', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 60, size: 'max' }), async (steps) => {
      const key = `${randomNamespace()}:events`;
      const readers: (Reader | undefined)[] = [undefined, undefined, undefined];
      /** What each has still to be told; undefined: something of that is missing. */
      const due: (string[] | undefined)[] = [[], [], []];
      /** Those who knew a stream that was lost. */
      const ofLostStream = new Set<number>();
      let kept: string[] = [];
      let added = 0;
      const startedAt = Date.now();
      for (const action of steps) {
        switch (action.kind) {
          case 'add':
            for (let count = 0; count < action.count; count++) {
              const name = String(++added);
              // no two in the same millisecond, as would be told apart by nothing after a loss
              await raw.command('XADD', key, `${String(startedAt + added)}-0`, 'name', name);
              kept.push(name);
              for (const names of due) names?.push(name);
            }
            break;
          case 'trim':
            await raw.command('XTRIM', key, 'MAXLEN', String(action.keep));
            kept = kept.slice(Math.max(0, kept.length - action.keep));
            // what is trimmed is older than whoever knew the stream before it was lost, and they find that out by their age
            due.forEach((names, index) => {
              if (ofLostStream.has(index)) readers[index] = undefined;
              if (names?.some((name) => !kept.includes(name)) === true) due[index] = undefined;
            });
            break;
          case 'lose':
            // only those who knew of an event can tell
            if (added === 0) break;
            await raw.command('DEL', key);
            kept = [];
            readers.forEach((reader, index) => {
              due[index] = reader !== undefined && reader.seen > 0 ? undefined : [];
              ofLostStream.add(index);
            });
            break;
          case 'open': {
            const end = await read(key, undefined, 1);
            if (end.status !== 'end') throw new Error(end.status);
            readers[action.reader] = { id: end.lastId, seen: end.added };
            due[action.reader] = [];
            ofLostStream.delete(action.reader);
            break;
          }
          case 'read': {
            const reader = readers[action.reader];
            if (reader === undefined) break;
            const names = due[action.reader];
            const reply = await read(key, reader, action.page);
            expect(reply.status).not.toBe('end');
            if (reply.status !== 'events') {
              expect(names).toBeUndefined();
              readers[action.reader] = { id: reply.lastId, seen: reply.added };
              due[action.reader] = [];
              ofLostStream.delete(action.reader);
              break;
            }
            const told = reply.entries.map(({ fields }) => fields.get('name') ?? '');
            expect(told).toEqual(names?.slice(0, action.page));
            expect(reply.more).toBe((names?.length ?? 0) > action.page);
            due[action.reader] = names?.slice(action.page);
            readers[action.reader] = {
              id: reply.entries.at(-1)?.id ?? reader.id,
              seen: reply.seen + reply.entries.length,
            };
            break;
          }
        }
      }
      await raw.command('DEL', key);
    }),
    { numRuns: 60, seed: 20_261_121 },
  );
});

test('a stream that came back with fewer or other events than were seen is found out', async () => {
  const key = `${randomNamespace()}:events`;
  const now = Date.now();
  const add = (id: number): Promise<unknown> => raw.command('XADD', key, `${String(now + id)}-0`, 'name', String(id));
  for (let id = 1; id <= 10; id++) await add(id);
  const seen = { id: `${String(now + 10)}-0`, seen: 10 };
  expect(await read(key, seen, 10)).toMatchObject({ status: 'events', entries: [] });
  // a replica that had not heard of the last two, and then of one, of two and of three others
  await raw.command('DEL', key);
  for (let id = 1; id <= 8; id++) await add(id);
  expect((await read(key, seen, 10)).status).toBe('lost');
  for (const id of [11, 12, 13]) {
    await add(id);
    expect((await read(key, seen, 10)).status).toBe('lost');
  }
  // many others, of which a page has only some
  for (let id = 14; id <= 40; id++) await add(id);
  expect((await read(key, seen, 10)).status).toBe('lost');
  await raw.command('DEL', key);
  for (let id = 11; id <= 40; id++) await add(id);
  expect((await read(key, seen, 10)).status).toBe('lost');
  // one that is missing in the middle
  await raw.command('DEL', key);
  for (let id = 1; id <= 12; id++) await add(id);
  await raw.command('XDEL', key, `${String(now + 11)}-0`);
  expect((await read(key, seen, 10)).status).toBe('lost');
  // as many, but with a clock behind
  await raw.command('DEL', key);
  for (let id = -20; id < -10; id++) await add(id);
  expect((await read(key, seen, 10)).status).toBe('lost');
  await raw.command('DEL', key);
});
