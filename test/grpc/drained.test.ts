import { expect, test } from '@jest/globals';
import { sharedRedisUrl, startTestService } from '../support/service.js';

const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;

test('a service that has drained leaves no timer that would keep the process', async () => {
  const before = timers();
  const service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
  await service.cache.set({ key: 'a', value: Buffer.from('a') });
  await service.stop();
  expect(timers()).toBe(before);
});
