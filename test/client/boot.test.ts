import { afterEach, expect, test } from '@jest/globals';
import { runAtBoot } from '../../src/client/boot.js';
import type { HealthStatus } from '../../src/client/index.js';
import { SILENT } from '../../src/client/logger.js';
import { freeAddress } from '../support/free-address.js';
import { sdkClient } from '../support/sdk-client.js';
import { killServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { sharedRedisUrl } from '../support/service.js';

afterEach(killServiceProcesses);

test('what runs at boot waits for the service, runs once, and warms the cache', async () => {
  const address = await freeAddress();
  let runs = 0;
  let booted: (() => void) | undefined;
  const whenBooted = new Promise<void>((resolve) => (booted = resolve));
  const client = sdkClient(address, {
    onBoot: async ({ cache }) => {
      runs++;
      await cache.warmMany([{ key: 'leaderboard:global', loader: () => ['ada'], ttlMs: 60_000 }]);
      booted?.();
    },
  });
  expect(await client.health.check().catch(() => 'away')).toBe('away');
  expect(runs).toBe(0);
  await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone'), GRPC_LISTEN: address });
  await whenBooted;
  expect(await client.cache.get('leaderboard:global')).toEqual(['ada']);
  expect(runs).toBe(1);
});

test('what runs at boot does not run when the client was closed while the service was asked', async () => {
  let runs = 0;
  let answer: ((status: HealthStatus) => void) | undefined;
  const closing = new AbortController();
  const booted = runAtBoot(
    { check: () => new Promise((resolve) => (answer = resolve)) },
    () => {
      runs++;
    },
    { closing: closing.signal, logger: SILENT },
  );
  closing.abort();
  answer?.('serving');
  await booted;
  expect(runs).toBe(0);
});

test('what fails at boot is said, and fails nothing else', async () => {
  const service = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone') });
  let said: ((message: string) => void) | undefined;
  const failure = new Promise<string>((resolve) => (said = resolve));
  const client = sdkClient(service.address, {
    onBoot: () => {
      throw new RangeError('no database');
    },
    logger: { debug: () => undefined, warn: () => undefined, error: (_, message) => said?.(message) },
  });
  expect(await failure).not.toBe('');
  expect((await client.cache.set('k', 1)).stored).toBe(true);
});

test('health tells what the service says of itself, now and from now on', async () => {
  const service = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone') });
  const { health } = sdkClient(service.address);
  expect(await health.check()).toBe('serving');
  expect(await health.check('shardkeep.session.v1.SessionService')).toBe('serving');
  expect(await health.check('no.such.Service')).toBe('unknown');
  const seen: string[] = [];
  const ended = (async () => {
    for await (const status of health.watch()) {
      seen.push(status);
      if (seen.length === 1) service.signal('SIGTERM');
    }
  })().catch((error: unknown) => error);
  await ended;
  expect(seen.slice(0, 2)).toEqual(['serving', 'not_serving']);
});
