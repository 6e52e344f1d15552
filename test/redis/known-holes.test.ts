import { expect, test } from '@jest/globals';
import { mendedIn, warnOfHoles } from '../../src/redis/known-holes.js';
import { inspectNode } from '../../src/redis/node-report.js';
import { KeptLog } from '../support/kept-log.js';
import { rawRedis } from '../support/raw-redis.js';
import { sharedRedisUrl, startTestService } from '../support/service.js';

/** Servers whose scripts can break out of their sandbox. */

test.each([
  ['redis', '7.0.15', '7.2.11'],
  ['redis', '7.2.10', '7.2.11'],
  ['redis', '7.2.11', undefined],
  ['redis', '7.3.240', '7.4.6'],
  ['redis', '7.4.5', '7.4.6'],
  ['redis', '7.4.10', undefined],
  ['redis', '8.0.3', '8.0.4'],
  ['redis', '8.2.1', '8.2.2'],
  ['redis', '8.4.0', undefined],
  ['redis', '10.0.0', undefined],
  ['valkey', '8.0.5', '8.0.6'],
  ['valkey', '8.1.4', undefined],
  ['valkey', '9.0.0', undefined],
  ['redis', 'unstable', undefined],
] as const)('%s %s is mended in %s', (product, version, fixedIn) => {
  expect(mendedIn({ product, version })).toBe(fixedIn);
});

test('each is told of once', () => {
  const log = new KeptLog();
  const report = { runId: '', majorVersion: 7, clusterEnabled: false, maxmemoryPolicy: 'noeviction' };
  const server = { ...report, address: 'a:1', product: 'redis', version: '7.0.15' } as const;
  warnOfHoles(server, log.logger);
  warnOfHoles(server, log.logger);
  warnOfHoles({ ...server, version: '8.2.2' }, log.logger);
  expect(log.lines).toMatchObject([{ address: 'a:1', version: '7.0.15', fixedIn: '7.2.11' }]);
});

test('a service tells of its own when it starts', async () => {
  const raw = await rawRedis('standalone');
  const { product, version } = await inspectNode(() => raw.command('INFO', 'everything'), '');
  await raw.close();
  const log = new KeptLog();
  const service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') }, { logger: log.logger });
  await service.stop();
  const told = log.lines.filter((line) => 'fixedIn' in line);
  const fixedIn = mendedIn({ product, version });
  expect(told).toMatchObject(fixedIn === undefined ? [] : [{ product, version, fixedIn }]);
});
