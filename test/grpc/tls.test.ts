import { X509Certificate } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { connect as connectTls } from 'node:tls';
import { credentials, status as Code } from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { ConnectOptions, TlsOptions } from '../../src/client/index.js';
import { CacheServiceService } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { Authority, type Certificate } from '../support/certificates.js';
import { failureOf, TestChannel } from '../support/client.js';
import { checkHealth } from '../support/health-client.js';
import { scrape } from '../support/metrics.js';
import { freePort, until } from '../support/redis-server.js';
import { sdkClient } from '../support/sdk-client.js';
import { killServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { sharedRedisUrl, startTestService, type Environment, type TestService } from '../support/service.js';

const EXPIRES = 'shardkeep_tls_certificate_expires_timestamp_seconds';
const APPLIED = 'shardkeep_tls_reloads_total{result="applied"}';
const REFUSED = 'shardkeep_tls_reloads_total{result="refused"}';

let authority: Authority;
let stranger: Authority;
let shard: Certificate;
let player: Certificate;
let running: TestService | undefined;
const channels: TestChannel[] = [];

beforeAll(() => {
  [authority, stranger] = [new Authority(), new Authority()];
  [shard, player] = [authority.issue('shard'), authority.issue('player')];
});
afterEach(async () => {
  for (const channel of channels.splice(0)) channel.close();
  await running?.stop();
  running = undefined;
  await killServiceProcesses();
});
afterAll(() => {
  authority.remove();
  stranger.remove();
});

const settings = (env: Environment = {}): Environment => ({
  REDIS_URL: sharedRedisUrl('standalone'),
  TLS_CERT_FILE: shard.certFile,
  TLS_KEY_FILE: shard.keyFile,
  ...env,
});

async function startTls(env: Environment = {}): Promise<TestService> {
  running = await startTestService(settings(env));
  return running;
}

/** A call on a connection of its own; answers its status. */
async function callBy(address: string, ca: Buffer | undefined, own?: Certificate): Promise<Code> {
  const channel = new TestChannel(
    address,
    ca === undefined ? credentials.createInsecure() : credentials.createSsl(ca, own?.key, own?.cert),
  );
  channels.push(channel);
  const call = channel.of(CacheServiceService).get({ key: 'x' });
  return call.then(
    () => Code.OK,
    async () => (await failureOf(call)).code,
  );
}

/** The serial number of the certificate that a new connection is shown. */
function servedSerial(address: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({ port: Number(address.split(':').at(-1)), ca: authority.cert, ALPNProtocols: ['h2'] });
    socket.on('error', reject).on('secureConnect', () => {
      resolve(socket.getPeerCertificate().serialNumber);
      socket.destroy();
    });
  });
}

describe('with a certificate', () => {
  test('the service is for those who trust it, and speak TLS', async () => {
    const { address } = await startTls();
    expect(await callBy(address, authority.cert)).toBe(Code.OK);
    expect(await callBy(address, stranger.cert)).toBe(Code.UNAVAILABLE);
    expect(await callBy(address, undefined)).toBe(Code.UNAVAILABLE);
    // who does not look at certificates is not this service's to refuse
    expect(await callBy(address, authority.cert, player)).toBe(Code.OK);
  });

  test('a unix socket may have it as well', async () => {
    const { address } = await startTls({ GRPC_LISTEN: `unix:${authority.path('s')}` });
    const channel = new TestChannel(address, credentials.createSsl(authority.cert, null, null));
    channels.push(channel);
    expect(await checkHealth(channel, '')).toBe('SERVING');
  });

  test.each(['TLSv1', 'TLSv1.1'] as const)('%s is too old', async (version) => {
    const { address } = await startTls();
    const refused = new Promise<unknown>((resolve) => {
      connectTls({
        ...{ port: Number(address.split(':').at(-1)), ca: authority.cert, ALPNProtocols: ['h2'] },
        ...{ minVersion: version, maxVersion: version, ciphers: 'DEFAULT@SECLEVEL=0' },
      })
        .on('error', resolve)
        .on('secureConnect', () => {
          resolve(undefined);
        });
    });
    expect(await refused).toMatchObject({ code: 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION' });
  });

  test('health has a listener without it', async () => {
    const healthAddress = `127.0.0.1:${String(await freePort())}`;
    await startTls({ HEALTH_LISTEN: healthAddress, TLS_CLIENT_CA_FILE: authority.certFile });
    const channel = new TestChannel(healthAddress);
    channels.push(channel);
    expect(await checkHealth(channel, '')).toBe('SERVING');
  });
});

describe('where clients need one too', () => {
  const mutual = (): Environment => ({ TLS_CLIENT_CA_FILE: authority.certFile });

  test('who has none, or a bad one, cannot call', async () => {
    const { address, service } = await startTls(mutual());
    expect(await callBy(address, authority.cert, player)).toBe(Code.OK);
    expect(await callBy(address, authority.cert)).toBe(Code.UNAVAILABLE);
    expect(await callBy(address, authority.cert, stranger.issue('player'))).toBe(Code.UNAVAILABLE);
    expect(await callBy(address, authority.cert, authority.issue('player', { days: -1 }))).toBe(Code.UNAVAILABLE);
    expect(await service.metrics.registry.metrics()).toMatch(/shardkeep_rpc_rejected_total\{reason="tls"\} [1-9]/);
  });

  test('or not need: who has none can call, who has a bad one cannot', async () => {
    const { address } = await startTls({ ...mutual(), TLS_CLIENT_CERT: 'optional' });
    expect(await callBy(address, authority.cert, player)).toBe(Code.OK);
    expect(await callBy(address, authority.cert)).toBe(Code.OK);
    expect(await callBy(address, authority.cert, stranger.issue('player'))).toBe(Code.UNAVAILABLE);
    expect(await callBy(address, authority.cert, authority.issue('player', { days: -1 }))).toBe(Code.UNAVAILABLE);
  });

  test.each<ConnectOptions['transport']>(['pipeline', 'unary'])(
    'the TypeScript client has one: %s',
    async (transport) => {
      const { address } = await startTls(mutual());
      const connectWith = (tls: TlsOptions): ReturnType<typeof sdkClient> =>
        sdkClient(address, { tls, ...(transport !== undefined && { transport }), retry: { maxAttempts: 1 } });
      const client = connectWith({ ca: authority.cert, cert: player.cert, key: player.key });
      expect(await client.cache.set('k', { level: 7 })).toMatchObject({ stored: true });
      const without = connectWith({ ca: authority.cert });
      await expect(without.locks.withLock('door', () => Promise.resolve())).rejects.toMatchObject({
        code: Code.UNAVAILABLE,
      });
    },
  );
});

describe('files that are replaced', () => {
  /** Copies, so that a test can replace them. */
  function files(from: Certificate): { certFile: string; keyFile: string; put: (next: Partial<Certificate>) => void } {
    const [certFile, keyFile] = [authority.path('live.crt'), authority.path('live.key')];
    const put = (next: Partial<Certificate>): void => {
      if (next.cert !== undefined) writeFileSync(certFile, next.cert);
      if (next.key !== undefined) writeFileSync(keyFile, next.key);
    };
    put(from);
    return { certFile, keyFile, put };
  }

  test('are shown to new connections, and no call of a client that calls all the time fails', async () => {
    const live = files(shard);
    const next = authority.issue('next', { days: 2 });
    const { address, service } = await startTls({
      TLS_CERT_FILE: live.certFile,
      TLS_KEY_FILE: live.keyFile,
      // so that connections come and go as well
      MAX_CONNECTION_AGE_MS: '700',
    });
    const before = await servedSerial(address);
    const client = sdkClient(address, { tls: { ca: authority.cert } });
    const callers = { calls: 0, stopped: false };
    const callAll = async (): Promise<void> => {
      while (!callers.stopped) {
        await client.cache.get(`k:${String(callers.calls++ % 10)}`);
        await client.locks.withLock(`door:${String(callers.calls)}`, () => Promise.resolve());
      }
    };
    const work = Promise.all([callAll(), callAll()]);
    live.put(next);
    await until(async () => (await servedSerial(address)) !== before);
    const callsThen = callers.calls;
    await until(() => callers.calls > callsThen + 20);
    callers.stopped = true;
    await work;
    const metrics = await service.metrics.registry.metrics();
    expect(metrics).toContain(`${APPLIED} 1`);
    expect(Number(new RegExp(`^${EXPIRES} (.+)$`, 'm').exec(metrics)?.[1]) * 1_000).toBeGreaterThan(
      Date.now() + 86_400_000,
    );
  });

  test('change nothing when they do not fit or have expired, and are taken when they do', async () => {
    const live = files(shard);
    const { address, service } = await startTls({ TLS_CERT_FILE: live.certFile, TLS_KEY_FILE: live.keyFile });
    const counted = async (): Promise<string> =>
      (await service.metrics.registry.metrics())
        .split('\n')
        .filter((line) => line.startsWith('shardkeep_tls_reloads'))
        .join();
    const before = await servedSerial(address);
    const next = authority.issue('next');
    live.put({ cert: next.cert });
    await until(async () => (await counted()) === `${APPLIED} 0,${REFUSED} 1`);
    expect(await servedSerial(address)).toBe(before);
    live.put(authority.issue('late', { days: -1 }));
    await until(async () => (await counted()) === `${APPLIED} 0,${REFUSED} 2`);
    expect(await servedSerial(address)).toBe(before);
    live.put(next);
    await until(async () => (await counted()) === `${APPLIED} 1,${REFUSED} 2`);
    expect(await servedSerial(address)).not.toBe(before);
  });
});

test('every worker has it, and the earliest end of all is told', async () => {
  const admin = `127.0.0.1:${String(await freePort())}`;
  const service = await startServiceProcess(settings({ WORKERS: '2', ADMIN_LISTEN: admin }));
  const codes = await Promise.all(Array.from({ length: 6 }, () => callBy(service.address, authority.cert)));
  expect(codes).toEqual(Array.from({ length: 6 }, () => Code.OK));
  const { validTo } = new X509Certificate(shard.cert);
  expect((await scrape(admin)).get(EXPIRES)).toBe(Date.parse(validTo) / 1_000);
});
