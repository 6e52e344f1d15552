import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test } from '@jest/globals';
import { CacheServiceService } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { SessionServiceService } from '../../src/gen/shardkeep/session/v1/session.js';
import { PoliciesFiles } from '../support/config.js';
import { sharedRedisUrl } from '../support/service.js';
import { killServiceProcesses, startServiceProcess } from '../support/service-process.js';

const EXIT_CONFIG = 78;
const WITHIN_MS = 5_000;

const files = new PoliciesFiles();
afterEach(killServiceProcesses);
afterAll(() => {
  files.remove();
});

describe('the process', () => {
  test('ends with 78 and names every bad setting at once', async () => {
    const startedAt = performance.now();
    const service = await startServiceProcess(
      { MAX_IN_FLIGHT: 'many', REDIS_URL: 'redis://:open-sesame@redis:port', POLICIES_FILE: files.write('chat: 1\n') },
      { until: 'nothing' },
    );
    expect(await service.exited).toEqual({ code: EXIT_CONFIG, signal: null });
    expect(performance.now() - startedAt).toBeLessThan(WITHIN_MS);
    const said = service.output.join('\n');
    expect(said).toMatch(/MAX_IN_FLIGHT: /);
    expect(said).toMatch(/REDIS_URL: /);
    expect(said).toMatch(/POLICIES_FILE: \S+:1: chat: /);
    expect(said).not.toContain('sesame');
    expect(said).not.toMatch(/^\s+at /m);
    expect(service.logs).toEqual([]);
  });

  test('ends with 78 for what only the whole policies file shows to be wrong, with line and field', async () => {
    const file = files.write('envoy_domains:\n  edge:\n    descriptors:\n      - key: user\n        policy: nowhere\n');
    const service = await startServiceProcess(
      { REDIS_URL: sharedRedisUrl('standalone'), POLICIES_FILE: file },
      { until: 'nothing' },
    );
    expect(await service.exited).toEqual({ code: EXIT_CONFIG, signal: null });
    expect(service.output.join('\n')).toContain(`${file}:5: envoy_domains.edge.descriptors.0.policy: `);
    expect(service.logs).toEqual([]);
  });

  test.each(['GRPC_LISTEN', 'ADMIN_LISTEN', 'HEALTH_LISTEN'])(
    'ends with 1 and names %s when its port is taken',
    async (setting) => {
      const other = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone') });
      const service = await startServiceProcess(
        { REDIS_URL: sharedRedisUrl('standalone'), [setting]: other.address },
        { until: 'nothing' },
      );
      expect(await service.exited).toEqual({ code: 1, signal: null });
      const fatal = service.logs.filter(({ level }) => level === 60);
      expect(fatal).toEqual([expect.objectContaining({ problem: expect.stringContaining(`${setting}: `) })]);
      expect(fatal[0]).not.toHaveProperty('err');
      expect(service.logs.filter(({ level }) => level === 50)).toEqual([]);
    },
  );

  test('serves with good settings, warns of ignored ones, and ends with 0 on SIGTERM', async () => {
    const service = await startServiceProcess({
      REDIS_URL: sharedRedisUrl('standalone'),
      REDIS_ENABLE_OFFLINE_QUEUE: 'true',
    });
    const cache = service.channel().of(CacheServiceService);
    expect((await cache.get({ key: 'nothing' })).entry).toBeUndefined();
    expect(await service.log(({ msg }) => msg?.includes('REDIS_ENABLE_OFFLINE_QUEUE') === true)).toMatchObject({
      level: 40,
    });
    expect(await service.stop('SIGTERM')).toEqual({ code: 0, signal: null });
    expect(service.output).toEqual([]);
  });

  test('says nothing of trouble when it starts with a Redis of its own, without data and with', async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'shardkeep-test-data-'));
    try {
      for (const value of ['first', 'second']) {
        // a busy machine makes it slow, which is told
        const service = await startServiceProcess({ DATA_DIR: dataDir, SLOW_OPERATION_MS: '0' });
        const sessions = service.channel().of(SessionServiceService);
        await sessions.createSession({ userId: value, requestId: '' });
        expect(await service.stop('SIGTERM')).toEqual({ code: 0, signal: null });
        // but of the version of the Redis that this machine has
        const others = service.logs.filter((line) => !('fixedIn' in line));
        expect(others.filter(({ level }) => Number(level) >= 40)).toEqual([]);
      }
    } finally {
      rmSync(dataDir, { recursive: true, force: true });
    }
  });
});
