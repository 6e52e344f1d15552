import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { loadConfig } from '../../src/config/config.js';
import { startService } from '../../src/service.js';
import { Authority, hasOpenssl } from '../support/certificates.js';
import { TestChannel } from '../support/client.js';
import { checkHealth } from '../support/health-client.js';
import { KeptLog } from '../support/kept-log.js';
import { startSentinel, type SentinelSetup } from '../support/redis-sentinel.js';
import { until } from '../support/redis-server.js';
import { startTestService, type TestService } from '../support/service.js';

/** Sentinels and servers that talk TLS alone to services, ask for certificates, and for a login of their own each. */

/** Without openssl nothing here can be tried. */
const onTls = hasOpenssl ? describe : describe.skip;
const SECRET = 'canary-of-the-sentinels';
/** What the documentation says is enough. */
const RULES = 'resetchannels &+switch-master -@all +ping +sentinel|master +subscribe';

onTls('rediss+sentinel', () => {
  let authority: Authority;
  let setup: SentinelSetup;
  let service: TestService | undefined;

  beforeAll(async () => {
    authority = new Authority();
    const { certFile, keyFile } = authority.issue('redis');
    setup = await startSentinel({
      tls: { certFile, keyFile, caFile: authority.certFile },
      // the sentinels themselves, and the tests, are the default user
      sentinelLines: [`user watcher on >${SECRET} ${RULES}`, 'user default on nopass ~* &* +@all -sentinel|master'],
    });
  });
  afterEach(async () => {
    await service?.stop();
    service = undefined;
  });
  afterAll(async () => {
    await setup.remove();
    authority.remove();
  });

  function settings(): Record<string, string> {
    const { certFile, keyFile } = authority.issue('service');
    return {
      REDIS_URL: setup.url,
      REDIS_TLS_CA_FILE: authority.certFile,
      REDIS_TLS_CERT_FILE: certFile,
      REDIS_TLS_KEY_FILE: keyFile,
      REDIS_SENTINEL_USERNAME: 'watcher',
      REDIS_SENTINEL_PASSWORD: SECRET,
    };
  }

  test.each([
    ['no login', { REDIS_SENTINEL_USERNAME: '', REDIS_SENTINEL_PASSWORD: '' }, 'NOPERM'],
    ['a wrong password', { REDIS_SENTINEL_PASSWORD: `${SECRET}-not` }, 'WRONGPASS'],
  ])('with %s at the sentinels it does not serve, and says why without the password', async (_, wrong, reason) => {
    const log = new KeptLog();
    const started = await startService({
      config: loadConfig({ NODE_ENV: 'test', GRPC_LISTEN: '127.0.0.1:0', ...settings(), ...wrong }),
      logger: log.logger,
      onUnusable: (error) => {
        throw error;
      },
    });
    const channel = new TestChannel(started.address);
    try {
      await until(() => log.text.includes(reason));
      expect(await checkHealth(channel, 'shardkeep.cache.v1.CacheService')).toBe('NOT_SERVING');
      expect(log.text).not.toContain(SECRET);
    } finally {
      channel.close();
      await started.drain();
    }
  });

  test('commands, channels and tracked keys go to the master, and to the next one after a failover', async () => {
    service = await startTestService({ ...settings(), NEAR_CACHE_MAX_BYTES: '1000000' });
    expect(await served(service)).toBe('v');
    const old = await setup.master();
    if (old === undefined) throw new Error('there is no master');
    await old.stop('SIGKILL');
    await setup.untilFailedOverFrom(old);
    const { channel } = service;
    await until(async () => (await checkHealth(channel, 'shardkeep.cache.v1.CacheService')) === 'SERVING');
    expect(await served(service)).toBe('v');
  });
});

/** Parks a call that is woken over a shard channel; answers what one gets that is woken over a tracked key. */
async function served({ cache, locks }: TestService): Promise<string | undefined> {
  const key = Math.random().toString(36);
  const patient = { deadline: Date.now() + 30_000 };
  const held = await locks.acquireLock({ resources: [key], ttlMs: 30_000n });
  const waiting = locks.acquireLock({ resources: [key], ttlMs: 1_000n, waitMs: 20_000n }, patient);
  await until(async () => (await locks.getLock({ resource: key })).waiters.length === 1);
  await locks.releaseLock({ resources: [key], lockToken: held.lockToken });
  expect((await waiting).lockToken).not.toBe('');
  const loaded = `${key}-loaded`;
  const leased = await cache.getOrLease({ key: loaded, leaseMs: 20_000n });
  const parked = cache.getOrLease({ key: loaded, leaseMs: 1_000n, waitMs: 20_000n }, patient);
  await cache.fill({
    key: loaded,
    leaseToken: leased.leaseToken,
    result: { $case: 'value', value: Buffer.from('v') },
  });
  return (await parked).entry?.value.toString();
}
