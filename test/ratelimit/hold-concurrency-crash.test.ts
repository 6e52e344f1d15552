import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Limit } from '../../src/gen/shardkeep/ratelimit/v1/ratelimit.js';
import { failureOf } from '../support/client.js';
import { until } from '../support/redis-server.js';
import { randomNamespace, sharedRedisUrl, startTestService, TOPOLOGIES, type TestService } from '../support/service.js';
import { killServiceProcesses, startServiceProcess, type ServiceProcess } from '../support/service-process.js';
import { SlotHold, slotsOf, someone, usedOf } from './slots-support.js';

/** What becomes of slots when a process dies or stands still. */

const PROGRAM = fileURLToPath(new URL('slot-holder.mjs', import.meta.url));
/** The shortest that a stream holds. */
const LEASE_MS = 500;
const FOREVER_MS = 600_000;

describe.each(TOPOLOGIES)('on %s', (topology) => {
  let observer: TestService;
  let dying: ServiceProcess;
  let still: ServiceProcess;

  beforeAll(async () => {
    const env = { REDIS_URL: sharedRedisUrl(topology), NAMESPACE: randomNamespace() };
    [observer, dying, still] = await Promise.all([
      startTestService(env),
      startServiceProcess(env),
      startServiceProcess(env),
    ]);
  });
  afterAll(async () => {
    await observer.stop();
    await killServiceProcesses();
  });

  const used = async (limit: Limit): Promise<number | undefined> => (await usedOf(observer.rateLimits, limit))[0];

  test('the slots of a caller that is killed are back at once, however long their lease', async () => {
    const limit = slotsOf(someone(), 1, { windowMs: FOREVER_MS });
    const caller = fork(PROGRAM, [observer.address], { serialization: 'advanced', execArgv: [] });
    try {
      expect(await once(caller, 'message')).toEqual(['ready', undefined]);
      const answered = once(caller, 'message');
      caller.send({ limits: [limit] });
      expect((await answered)[0]).toBe(true);
      expect(await used(limit)).toBe(1);
    } finally {
      caller.kill('SIGKILL');
    }
    await until(async () => (await used(limit)) === 0);
  });

  test('the slots of a service that is killed are back within their lease, and taken until then', async () => {
    const limit = slotsOf(someone(), 3, { windowMs: 1_500 });
    const holds = [1, 2, 3].map(() => new SlotHold(dying.channel(), [limit]));
    for (const hold of holds) expect((await hold.decision()).allowed).toBe(true);
    await dying.stop('SIGKILL');
    const { limits } = await observer.rateLimits.peekRateLimit({ limits: [limit] });
    const next = new SlotHold(observer.channel, [limit], { cost: 3 });
    expect((await next.decision()).allowed).toBe(false);
    await until(async () => (await used(limit)) === 0);
    // nobody renewed them after that, so this was a lease after the death at the latest; by Redis's clock
    const decision = await new SlotHold(observer.channel, [limit], { cost: 3 }).decision();
    expect(decision.allowed).toBe(true);
    expect(Number(decision.limits[0]?.resetAtMs) - 1_500).toBeGreaterThanOrEqual(Number(limits[0]?.resetAtMs));
    for (const hold of holds) expect(await hold.stream.code()).toBe(Code.UNAVAILABLE);
  });

  test('a service that stood still for longer than a lease tells that the slots are lost', async () => {
    const limit = slotsOf(someone(), 1, { windowMs: LEASE_MS });
    const hold = new SlotHold(still.channel(), [limit]);
    await hold.decision();
    still.signal('SIGSTOP');
    await until(async () => (await used(limit)) === 0);
    const next = new SlotHold(observer.channel, [limit]);
    expect((await next.decision()).allowed).toBe(true);
    still.signal('SIGCONT');
    expect(await failureOf(hold.stream.result)).toMatchObject({ code: Code.ABORTED, reason: 'SLOTS_LOST' });
    // and took nothing from who has it now
    expect(await used(limit)).toBe(1);
    next.stream.cancel();
    await until(async () => (await used(limit)) === 0);
  });

  test('a service that is told to end gives the slots back before it has', async () => {
    const limit = slotsOf(someone(), 2, { windowMs: FOREVER_MS });
    const hold = new SlotHold(still.channel(), [limit], { cost: 2 });
    await hold.decision();
    still.signal('SIGTERM');
    expect(await failureOf(hold.stream.result)).toMatchObject({ code: Code.UNAVAILABLE, reason: 'DRAINING' });
    expect(await still.exited).toEqual({ code: 0, signal: null });
    expect(await used(limit)).toBe(0);
  });
});
