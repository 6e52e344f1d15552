import { afterEach, describe, expect, test } from '@jest/globals';
import { RateLimitServiceService } from '../../src/gen/shardkeep/ratelimit/v1/ratelimit.js';
import { keys } from '../../src/redis/keys.js';
import type { TestChannel } from '../support/client.js';
import { rawRedis } from '../support/raw-redis.js';
import { until } from '../support/redis-server.js';
import { SeededRandom } from '../support/seeded-random.js';
import { randomNamespace, sharedRedisUrl, TOPOLOGIES } from '../support/service.js';
import { killServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { SlotHold, slotsOf, someone, storedSlots } from './slots-support.js';

/** Callers of two service processes race for the slots of one policy. */

const CALLERS = 200;
const MAX = 7;

afterEach(killServiceProcesses);

describe.each(TOPOLOGIES)('on %s', (topology) => {
  test('never more hold a slot than there are, as the callers see it and as Redis has it', async () => {
    const env = { REDIS_URL: sharedRedisUrl(topology), NAMESPACE: randomNamespace() };
    const services = await Promise.all([startServiceProcess(env), startServiceProcess(env)]);
    const channels = [0, 1, 2, 3].flatMap((index) => services[index % 2]?.channel() ?? []);
    const redis = await rawRedis(topology);
    const limit = slotsOf(someone(), MAX);
    const key = keys.concurrency(env.NAMESPACE, limit.subject, storedSlots(limit));
    const slots = async (): Promise<number> => Number(await redis.command('ZCARD', key));
    const random = new SeededRandom(200);
    let [held, most, denials] = [0, 0, 0];
    // who was denied tries again when a slot is given back: two for each, so that they race; who finds nobody holding one
    // asks until it is back
    const waiting: (() => void)[] = [];
    const holdOnce = async (channel: TestChannel): Promise<void> => {
      for (;;) {
        const hold = new SlotHold(channel, [limit]);
        if (!(await hold.decision()).allowed) {
          denials++;
          if (held > 0) await new Promise<void>((resolve) => waiting.push(resolve));
          continue;
        }
        // counted from after it was granted until before it is given back: two that overlap here held at once
        held++;
        most = Math.max(most, held);
        for (let turns = random.below(3); turns >= 0; turns--) {
          const stored = await slots();
          expect(stored).toBeGreaterThanOrEqual(1);
          expect(stored).toBeLessThanOrEqual(MAX);
        }
        held--;
        hold.stream.cancel();
        for (const wake of waiting.splice(0, held === 0 ? 2 * MAX : 2)) wake();
        return;
      }
    };
    await Promise.all(Array.from({ length: CALLERS / channels.length }, () => channels.map(holdOnce)).flat());
    expect(most).toBe(MAX);
    expect(denials).toBeGreaterThanOrEqual(CALLERS - MAX);
    await until(async () => (await slots()) === 0);
    const [one] = channels;
    const peek = await one?.of(RateLimitServiceService).peekRateLimit({ limits: [limit] });
    expect(peek?.limits).toMatchObject([{ remaining: MAX }]);
    await redis.close();
  });
});
