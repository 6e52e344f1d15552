import { status as Code } from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { Authority, hasOpenssl, type Certificate } from '../support/certificates.js';
import { MountedFiles } from '../support/mounted-files.js';
import { failureOf } from '../support/client.js';
import { checkHealth } from '../support/health-client.js';
import { KeptLog } from '../support/kept-log.js';
import { clusterFlags, formCluster, freePort, startRedis, until, type RedisServer } from '../support/redis-server.js';
import { SERVICE_LOGIN } from '../support/redis-user.js';
import { killServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { startTestService, type TestService } from '../support/service.js';

/** Without openssl nothing here can be tried. */
const onTls = hasOpenssl ? describe : describe.skip;

onTls('over TLS', () => {
  const files = new MountedFiles();
  let authority: Authority;
  let other: Authority;
  let redis: RedisServer;
  let tlsPort: number;
  let service: TestService | undefined;
  let log: KeptLog;

  beforeAll(() => {
    authority = new Authority();
    other = new Authority();
  });
  beforeEach(() => {
    log = new KeptLog();
  });
  afterEach(async () => {
    await service?.stop();
    service = undefined;
    await killServiceProcesses();
    await redis.remove();
  });
  afterAll(() => {
    files.remove();
    authority.remove();
    other.remove();
  });

  /** A Redis that takes nobody without a certificate of the authority; the plain port is for the tests alone. */
  async function startTlsRedis(flags: readonly string[] = []): Promise<void> {
    tlsPort = await freePort();
    const { certFile, keyFile } = show(authority.issue('redis'));
    const tls = { 'tls-port': String(tlsPort), 'tls-cert-file': certFile, 'tls-key-file': keyFile };
    const asks = { 'tls-ca-cert-file': authority.certFile, 'tls-auth-clients': 'yes' };
    const options = Object.entries({ ...tls, ...asks }).flatMap(([name, value]) => [`--${name}`, value]);
    redis = await startRedis([...options, ...flags]);
  }

  /** Puts a certificate where Redis reads its own. */
  function show({ certFile, keyFile }: Certificate): Pick<Certificate, 'certFile' | 'keyFile'> {
    return { certFile: files.copy('redis.pem', certFile), keyFile: files.copy('redis.key', keyFile) };
  }

  /** Redis shows another certificate to whoever connects from now on, which all have to. */
  async function replaceCertificate(certificate: Certificate): Promise<void> {
    const { certFile, keyFile } = show(certificate);
    await redis.command('CONFIG', 'SET', 'tls-cert-file', certFile, 'tls-key-file', keyFile);
    await redis.command('CLIENT', 'KILL', 'USER', 'shardkeep');
  }

  function settings(scheme = 'rediss', host = '127.0.0.1'): Record<string, string> {
    const { certFile, keyFile } = authority.issue('redis');
    return {
      REDIS_URL: `${scheme}://${SERVICE_LOGIN}${host}:${String(tlsPort)}`,
      REDIS_TLS_CA_FILE: files.copy('ca.pem', authority.certFile),
      REDIS_TLS_CERT_FILE: files.copy('service.pem', certFile),
      REDIS_TLS_KEY_FILE: files.copy('service.key', keyFile),
    };
  }

  async function serve(env: Readonly<Record<string, string>>): Promise<TestService> {
    service = await startTestService(env, { logger: log.logger });
    return service;
  }

  /** Waits until it serves, and answers what it reads of what it has written. */
  async function served({ channel, cache }: TestService): Promise<string | undefined> {
    await until(async () => (await checkHealth(channel, 'shardkeep.cache.v1.CacheService')) === 'SERVING');
    await cache.set({ key: 'k', value: Buffer.from('v') });
    return (await cache.get({ key: 'k' })).entry?.value.toString();
  }

  async function expectAway({ channel, cache }: TestService): Promise<void> {
    await until(async () => (await checkHealth(channel, 'shardkeep.cache.v1.CacheService')) === 'NOT_SERVING');
    expect((await failureOf(cache.get({ key: 'k' }))).code).toBe(Code.UNAVAILABLE);
  }

  /** Parks a call that is woken over a shard channel, and one that is over a tracked key. */
  async function expectPushes({ cache, locks }: TestService): Promise<void> {
    const held = await locks.acquireLock({ resources: ['r'], ttlMs: 30_000n });
    const waiting = locks.acquireLock({ resources: ['r'], ttlMs: 1_000n, waitMs: 20_000n });
    const leased = await cache.getOrLease({ key: 'loaded', leaseMs: 20_000n });
    const parked = cache.getOrLease({ key: 'loaded', leaseMs: 1_000n, waitMs: 20_000n });
    await until(async () => (await locks.getLock({ resource: 'r' })).waiters.length === 1);
    await locks.releaseLock({ resources: ['r'], lockToken: held.lockToken });
    await cache.fill({
      key: 'loaded',
      leaseToken: leased.leaseToken,
      result: { $case: 'value', value: Buffer.from('v') },
    });
    expect((await waiting).lockToken).not.toBe('');
    expect((await parked).entry?.value).toEqual(Buffer.from('v'));
  }

  test('commands, channels and tracked keys go to a Redis that asks for a certificate', async () => {
    await startTlsRedis();
    const running = await serve({ ...settings(), NEAR_CACHE_MAX_BYTES: '1000000' });
    expect(await served(running)).toBe('v');
    await expectPushes(running);
  });

  test('and to the nodes of a Cluster', async () => {
    const busPort = await freePort();
    await startTlsRedis([...clusterFlags(busPort), '--tls-cluster', 'yes']);
    await formCluster([{ port: redis.port, busPort }], 1);
    const running = await serve(settings('rediss+cluster'));
    expect(await served(running)).toBe('v');
    await expectPushes(running);
  });

  test('an authority that is replaced is found in its file without a restart', async () => {
    await startTlsRedis();
    const running = await serve(settings());
    await replaceCertificate(other.issue('redis'));
    await expectAway(running);
    expect(await log.untilCode('UNABLE_TO_VERIFY_LEAF_SIGNATURE')).toMatchObject({
      level: 50,
      mend: expect.stringMatching(/REDIS_TLS_CA_FILE/) as unknown,
    });
    files.copy('ca.pem', other.certFile);
    expect(await served(running)).toBe('v');
    expect(log.text).not.toMatch(/BEGIN|only-for-tests/);
  });

  test.each([
    ['has expired', { days: -1 }, 'CERT_HAS_EXPIRED'],
    ['is for another name', { names: ['DNS:elsewhere'] }, 'ERR_TLS_CERT_ALTNAME_INVALID'],
  ])('a certificate that %s is refused and told, and a good one serves again', async (_, options, code) => {
    await startTlsRedis();
    const running = await serve(settings());
    await replaceCertificate(authority.issue('redis', options));
    await expectAway(running);
    expect(await log.untilCode(code)).toMatchObject({ level: 50 });
    await replaceCertificate(authority.issue('redis'));
    expect(await served(running)).toBe('v');
  });

  test("a certificate of the service's own that Redis refuses is told, and another one is shown", async () => {
    await startTlsRedis();
    // in this process jest hides from node-redis what the socket died of
    const process = await startServiceProcess(settings());
    const { certFile, keyFile } = other.issue('redis');
    files.copy('service.pem', certFile);
    files.copy('service.key', keyFile);
    await redis.command('CLIENT', 'KILL', 'USER', 'shardkeep');
    const told = await process.log(({ level, mend }) => level === 50 && String(mend).includes('REDIS_TLS_CERT_FILE'));
    expect(told.code).toMatch(/^ERR_SSL_.*ALERT/);
    const connectedBefore = process.logs.filter(({ msg }) => msg === 'redis connected').length;
    settings();
    await until(() => process.logs.filter(({ msg }) => msg === 'redis connected').length > connectedBefore);
    await process.stop();
  });

  test('the name of the certificate may be another than the address', async () => {
    await startTlsRedis();
    await replaceCertificate(authority.issue('redis', { names: ['DNS:redis.internal'] }));
    const env = settings();
    expect(await served(await serve({ ...env, REDIS_TLS_SERVER_NAME: 'redis.internal' }))).toBe('v');
  });
});
