import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { CacheServiceService, GetResponse, IncrementResponse } from '../../src/gen/shardkeep/cache/v1/cache.js';
import type { Answer } from '../../src/gen/shardkeep/pipeline/v1/pipeline.js';
import { codeOf, encodeFrame, RawPipeline, responseOf, type FramedCall } from '../support/pipeline-stream.js';
import { killServiceProcesses, startServiceProcess, type ServiceProcess } from '../support/service-process.js';
import { sharedRedisUrl } from '../support/service.js';
import { get, GET, increment, INCREMENT, METHODS, set, SET } from './requests.js';

/** Callers that break every rule, beside one that keeps them all. */

const MAX_IN_FLIGHT = 200;

let service: ServiceProcess;

beforeAll(async () => {
  service = await startServiceProcess({
    REDIS_URL: sharedRedisUrl('standalone'),
    MAX_IN_FLIGHT: String(MAX_IN_FLIGHT),
    MAX_STREAM_CALLS: '120',
  });
});
afterAll(killServiceProcesses);

const id = fc.oneof({ weight: 8, arbitrary: fc.integer({ min: 1, max: 400 }) }, fc.constantFrom(0, 0xffffffff));
const garbage = fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes));
const request = fc.oneof(
  fc.constantFrom(get('fuzz'), set('fuzz', Buffer.from('v')), increment('fuzz counter'), Buffer.alloc(0)),
  garbage,
  fc.constant(Buffer.alloc(300_000, 1)),
);
const call: fc.Arbitrary<FramedCall> = fc.record({
  id,
  method: fc.oneof({ weight: 20, arbitrary: fc.integer({ min: 0, max: METHODS.length }) }, fc.constant(4_000_000_000)),
  timeoutMs: fc.constantFrom(0, 1, 3, 1_000, 0xffffffff),
  request,
});
const validFrame = fc
  .record({ calls: fc.array(call, { maxLength: 30 }), cancelledIds: fc.array(id, { maxLength: 30 }) })
  .map(encodeFrame);
const bytes = fc.oneof(
  { weight: 6, arbitrary: validFrame },
  fc
    .tuple(validFrame, fc.double({ min: 0, max: 1, noNaN: true }))
    .map(([frame, part]) => frame.subarray(0, Math.floor(frame.length * part))),
  fc.tuple(validFrame, fc.nat(), fc.integer({ min: 1, max: 255 })).map(([frame, at, mask]) => {
    const flipped = Buffer.from(frame);
    if (flipped.length > 0) flipped[at % flipped.length] = (flipped[at % flipped.length] ?? 0) ^ mask;
    return flipped;
  }),
  garbage,
);
const ending = fc.constantFrom('half-close', 'cancel', 'leave');
/** What one badly behaved caller does, frame after frame. */
const script = fc.record({ frames: fc.array(bytes, { minLength: 1, maxLength: 12 }), ending });

/** Plays a script; whatever it was, no id is answered more often than it was sent. */
async function misbehave({ frames, ending: end }: { frames: Buffer[]; ending: string }): Promise<void> {
  const stream = new RawPipeline(service.address);
  stream.send({ methods: [...METHODS, 'no.such.Service/Method'] });
  for (const frame of frames) stream.sendBytes(frame);
  if (end === 'leave') await stream.until(() => stream.frames.length > 0).catch(() => undefined);
  if (end === 'half-close') stream.halfClose();
  else stream.cancel();
  await stream.ended;
}

/** Keeps all rules; every answer is checked against what this caller alone has written. */
async function behave(rounds: number): Promise<number> {
  const stream = new RawPipeline(service.address);
  stream.send({ methods: METHODS });
  const values = new Map<string, string>();
  let counter = 0n;
  let nextId = 1;
  let checked = 0;
  for (let round = 0; round < rounds; round++) {
    const expected = new Map<number, (answer: Answer) => void>();
    const calls: FramedCall[] = [];
    const add = (method: number, payload: Buffer, check: (answer: Answer) => void): void => {
      calls.push({ id: nextId, method, request: payload, timeoutMs: 30_000 });
      expected.set(nextId++, check);
    };
    for (let index = 0; index < 8; index++) {
      const key = `well-behaved ${String(index)}`;
      const before = values.get(key);
      const after = `${String(round)} ${String(index)}`;
      if (round % 2 === 0) add(SET, set(key, Buffer.from(after)), () => values.set(key, after));
      else {
        add(GET, get(key), (answer) => {
          expect(GetResponse.decode(responseOf(answer)).entry?.value.toString()).toBe(before);
        });
      }
    }
    add(INCREMENT, increment('well-behaved counter'), (answer) => {
      expect(IncrementResponse.decode(responseOf(answer)).value).toBe(++counter);
    });
    const answersBefore = stream.answers.length;
    stream.send({ calls });
    await stream.untilAnswers(answersBefore + calls.length);
    for (const answer of stream.answers.slice(answersBefore)) {
      // when the others fill the service this caller is told so, and has changed nothing
      expect([Code.OK, Code.RESOURCE_EXHAUSTED]).toContain(codeOf(answer));
      if (answer.outcome?.$case === 'response') expected.get(answer.id)?.(answer);
      expected.delete(answer.id);
      checked++;
    }
    expect(expected.size).toBe(0);
  }
  stream.halfClose();
  expect((await stream.ended).code).toBe(Code.OK);
  return checked;
}

test('whatever else comes, a caller that keeps the rules gets right answers, and nothing is left behind', async () => {
  const wellBehaved = behave(400);
  let streams = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(script, { minLength: 4, maxLength: 4 }), async (scripts) => {
      streams += scripts.length;
      await Promise.all(scripts.map(misbehave));
    }),
    { numRuns: 120, seed: 20_261_121, endOnFailure: true },
  );
  expect(streams).toBeGreaterThan(400);
  expect(await wellBehaved).toBe(400 * 9);

  // a call that was not counted out would take a place for ever
  const cache = service.channel().of(CacheServiceService);
  const calls = await Promise.all(Array.from({ length: MAX_IN_FLIGHT }, () => cache.get({ key: 'after' })));
  expect(calls).toHaveLength(MAX_IN_FLIGHT);
  expect(service.logs.filter(({ level }) => Number(level) >= 50)).toEqual([]);
  expect(await service.stop('SIGTERM')).toEqual({ code: 0, signal: null });
}, 120_000);

test('a storm of cancellations leaves no call in flight, and each call has one answer', async () => {
  const stormy = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone'), MAX_IN_FLIGHT: '64' });
  const stream = new RawPipeline(stormy.address);
  stream.send({ methods: METHODS });
  const total = 20_000;
  for (let from = 1; from <= total; from += 50) {
    const ids = Array.from({ length: 50 }, (_, index) => from + index);
    stream.send({ calls: ids.map((each) => ({ id: each, method: INCREMENT, request: increment('storm') })) });
    stream.send({ cancelledIds: [...ids.filter((each) => each % 3 !== 0), from + 1_000_000] });
    if (from % 1_000 === 1) await stream.untilAnswers(from - 1);
  }
  await stream.untilAnswers(total);
  expect(new Set(stream.answers.map((answer) => answer.id)).size).toBe(total);
  const succeeded = stream.answers.filter((answer) => answer.outcome?.$case === 'response');
  const counts = succeeded.map((answer) => IncrementResponse.decode(responseOf(answer)).value);
  expect(new Set(counts).size).toBe(succeeded.length);
  stream.send({ calls: [{ id: 1, method: INCREMENT, request: increment('storm', 0n) }] });
  const last = (await stream.untilAnswers(total + 1))[total];
  expect(IncrementResponse.decode(responseOf(last)).value).toBeGreaterThanOrEqual(BigInt(succeeded.length));
  const cache = stormy.channel().of(CacheServiceService);
  expect(await Promise.all(Array.from({ length: 64 }, () => cache.get({ key: 'after' })))).toHaveLength(64);
  stream.halfClose();
  expect((await stream.ended).code).toBe(Code.OK);
});
