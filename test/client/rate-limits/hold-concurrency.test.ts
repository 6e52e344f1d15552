import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { status as Code } from '@grpc/grpc-js';
import { expect, test } from '@jest/globals';
import { connect, type HeldSlots, type DeniedSlots, type RateLimits } from '../../../src/client/index.js';
import { errorOf } from '../../support/client-error.js';
import { freePort, startRedis, until } from '../../support/redis-server.js';
import { onEachTopology, startTestService } from '../../support/service.js';
import { ClientsOfTest, exactly, slots, someone } from './support.js';

const PROGRAM = fileURLToPath(new URL('slot-holder.mjs', import.meta.url));
const clients = new ClientsOfTest();

onEachTopology('held slots', (service) => {
  const open = () => clients.rateLimits(service().address);
  const free = async (limits: RateLimits, subject: string) =>
    (await limits.peekRateLimit({ subject, policy: slots(2) })).remaining;

  test('so many are held at once, and free again when they are released', async () => {
    const limits = open();
    const subject = someone();
    const first = held(await limits.holdConcurrency({ subject, policy: slots(2) }));
    expect(first.decision).toMatchObject({ allowed: true, remaining: 1, granted: 1 });
    const second = held(await limits.holdConcurrency({ subject, policy: slots(2) }));
    const third = await limits.holdConcurrency({ subject, policy: slots(2) });
    expect(third).toMatchObject({ status: 'denied', decision: { allowed: false, status: 'over', remaining: 0 } });
    first.release();
    first.release();
    await until(async () => (await free(limits, subject)) === 1);
    second.release();
    await until(async () => (await free(limits, subject)) === 2);
    expect([first.signal.aborted, second.signal.aborted]).toEqual([false, false]);
  });

  test('several slots of several limits are all or nothing', async () => {
    const limits = open();
    const subject = someone();
    const pair = [
      { subject, policy: { ...slots(2), name: 'one' } },
      { subject, policy: { ...slots(3), name: 'other' } },
    ];
    const hold = held(await limits.holdConcurrency(pair, { cost: 2 }));
    expect(await limits.holdConcurrency(pair)).toMatchObject({ status: 'denied' });
    expect(await limits.peekRateLimit(pair.slice(1))).toMatchObject({ remaining: 1 });
    hold.release();
  });

  test('a signal ends the wait, and the hold', async () => {
    const limits = open();
    const subject = someone();
    const asked = { subject, policy: slots(2) };
    const aborted = errorOf(limits.holdConcurrency(asked, { signal: AbortSignal.abort() }));
    expect((await aborted).code).toBe(Code.CANCELLED);
    const controller = new AbortController();
    const hold = held(await limits.holdConcurrency(asked, { signal: controller.signal }));
    controller.abort();
    await lost(hold);
    expect(hold.signal.reason).toMatchObject({ code: Code.CANCELLED });
    await until(async () => (await free(limits, subject)) === 2);
  });

  test('slots that are lost abort their signal and say why', async () => {
    const limits = open();
    const asked = { subject: someone(), policy: slots(1, 600) };
    const hold = held(await limits.holdConcurrency(asked));
    await limits.resetRateLimit(asked);
    await lost(hold);
    expect(hold.signal.reason).toMatchObject({ code: Code.ABORTED, reason: 'SLOTS_LOST' });
    hold.release();
  });

  test('closing the client gives them back', async () => {
    const limits = open();
    const subject = someone();
    const closing = connect(service().address, { logger: false });
    const hold = held(await closing.rateLimits.holdConcurrency({ subject, policy: slots(2) }));
    await closing.close();
    expect(hold.signal.reason).toMatchObject({ code: Code.CANCELLED });
    await until(async () => (await free(limits, subject)) === 2);
    const late = errorOf(closing.rateLimits.holdConcurrency({ subject, policy: slots(2) }));
    expect((await late).code).toBe(Code.UNAVAILABLE);
  });

  test('slots of a process that is killed are free at once', async () => {
    const limits = open();
    const subject = someone();
    const holder = fork(PROGRAM, [service().address], { execArgv: [] });
    try {
      await once(holder, 'message');
      const answered = once(holder, 'message');
      holder.send({ subject, policy: slots(2) });
      expect((await answered)[0]).toBe('held');
      expect(await free(limits, subject)).toBe(1);
    } finally {
      holder.kill('SIGKILL');
    }
    await until(async () => (await free(limits, subject)) === 2);
  });

  test('racing clients never hold more than there are', async () => {
    const subject = someone();
    const asked = { subject, policy: slots(5) };
    const racing = [open(), open(), open()];
    const answers = await Promise.all(
      racing.flatMap((limits) => Array.from({ length: 10 }, () => limits.holdConcurrency(asked))),
    );
    const holds = answers.filter((answer) => answer.status === 'held');
    expect(holds).toHaveLength(5);
    for (const hold of holds) hold.release();
  });

  test('what is no concurrency limit is refused', async () => {
    const error = await errorOf(open().holdConcurrency({ subject: someone(), policy: exactly(5) }));
    expect(error).toMatchObject({ code: Code.INVALID_ARGUMENT, fields: ['limits[0].inlinePolicy.algorithm'] });
    const wait = errorOf(open().holdConcurrency({ subject: someone(), policy: slots(1) }, { timeoutMs: Number.NaN }));
    expect((await wait).code).toBe(Code.INVALID_ARGUMENT);
  });
});

test('a service that goes takes the slots with it, and one that is away or silent is told as such', async () => {
  const redis = await startRedis();
  const service = await startTestService({ REDIS_URL: redis.url });
  const limits = clients.rateLimits(service.address);
  const asked = { subject: someone(), policy: slots(1) };
  const hold = held(await limits.holdConcurrency(asked));

  redis.signal('SIGSTOP');
  const silent = await errorOf(limits.holdConcurrency({ ...asked, subject: someone() }, { timeoutMs: 200 }));
  expect(silent.code).toBe(Code.DEADLINE_EXCEEDED);
  redis.signal('SIGCONT');

  await service.stop();
  await lost(hold);
  expect(hold.signal.reason).toMatchObject({ code: Code.UNAVAILABLE });
  await redis.remove();

  const nowhere = clients.rateLimits(`127.0.0.1:${String(await freePort())}`);
  expect((await errorOf(nowhere.holdConcurrency(asked))).code).toBe(Code.UNAVAILABLE);
});

function held(answer: HeldSlots | DeniedSlots): HeldSlots {
  if (answer.status !== 'held') throw new Error('denied');
  return answer;
}

async function lost({ signal }: HeldSlots): Promise<void> {
  if (!signal.aborted) await once(signal, 'abort');
}
