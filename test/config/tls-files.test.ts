import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { loadConfig } from '../../src/config/config.js';
import { Authority, type Certificate } from '../support/certificates.js';
import { badSettings } from '../support/config.js';
import { killServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { sharedRedisUrl, type Environment } from '../support/service.js';

/** Who may call is said elsewhere. */
const REDIS = { REDIS_URL: 'redis://redis:7000', ALLOW_ANONYMOUS: '1' };
const PUBLIC = { ...REDIS, GRPC_LISTEN: '0.0.0.0:50051' };

let authority: Authority;
let shard: Certificate;
let other: Certificate;
beforeAll(() => {
  authority = new Authority();
  [shard, other] = [authority.issue('shard'), authority.issue('other')];
});
afterAll(async () => {
  await killServiceProcesses();
  authority.remove();
});

function written(text: string): string {
  const path = authority.path('written');
  writeFileSync(path, text);
  return path;
}

describe('what is served to other machines', () => {
  test.each(['0.0.0.0:1', '[::]:1', '10.0.0.7:1', 'shard.games.svc:1'])(
    'is not served in plaintext on %s',
    (listen) => {
      const env = { ...REDIS, GRPC_LISTEN: listen };
      expect(badSettings(env)).toEqual(['GRPC_LISTEN']);
      expect(badSettings({ ...env, ALLOW_PLAINTEXT: '1' })).toEqual([]);
      expect(badSettings({ ...env, TLS_CERT_FILE: shard.certFile, TLS_KEY_FILE: shard.keyFile })).toEqual([]);
    },
  );

  test.each(['127.0.0.1:1', '127.9.9.9:1', 'localhost:1', '[::1]:1', 'unix:/run/shardkeep.sock'])(
    'is not what listens on %s',
    (listen) => {
      expect(badSettings({ ...REDIS, GRPC_LISTEN: listen })).toEqual([]);
    },
  );

  test('is moved to other services now and then; a sidecar has nowhere to move to', () => {
    const limitsOf = (env: Environment): unknown => loadConfig(env).grpc.transport.limits;
    const local = { maxConnectionAgeMs: 0, maxConnectionIdleMs: 0 };
    expect(limitsOf(REDIS)).toMatchObject(local);
    const open = { ...PUBLIC, ALLOW_PLAINTEXT: '1' };
    expect(limitsOf(open)).toMatchObject({ maxConnectionAgeMs: 1_800_000, maxConnectionIdleMs: 300_000 });
    expect(limitsOf({ ...open, MAX_CONNECTION_AGE_MS: '0', MAX_CONNECTION_IDLE_MS: '0' })).toMatchObject(local);
  });
});

describe('a certificate file that will not do is named', () => {
  test.each<[string, string[], () => Environment]>([
    ['a certificate without a key', ['TLS_KEY_FILE'], () => ({ TLS_CERT_FILE: shard.certFile })],
    ['a key without a certificate', ['TLS_CERT_FILE'], () => ({ TLS_KEY_FILE: shard.keyFile })],
    ['a CA without either', ['TLS_CLIENT_CA_FILE'], () => ({ ...REDIS, TLS_CLIENT_CA_FILE: authority.certFile })],
    ['files that are not there', ['TLS_CERT_FILE', 'TLS_KEY_FILE'], () => pair('/nowhere.crt', '/nowhere.key')],
    ['a key that is another one', ['TLS_KEY_FILE'], () => pair(shard.certFile, other.keyFile)],
    ['a key for a certificate', ['TLS_CERT_FILE'], () => pair(shard.keyFile, shard.keyFile)],
    ['a certificate for a key', ['TLS_KEY_FILE'], () => pair(shard.certFile, shard.certFile)],
    ['half a certificate', ['TLS_CERT_FILE'], () => pair(written(half(shard.cert)), shard.keyFile)],
    [
      'a chain whose second one is broken',
      ['TLS_CERT_FILE'],
      () => pair(written(`${shard.cert.toString()}${broken(authority.cert)}`), shard.keyFile),
    ],
    ['a CA that is none', ['TLS_CLIENT_CA_FILE'], () => ({ ...good(), TLS_CLIENT_CA_FILE: shard.keyFile })],
    ['what clients need, without a CA', ['TLS_CLIENT_CERT'], () => ({ ...good(), TLS_CLIENT_CERT: 'optional' })],
    [
      'another need than there is',
      ['TLS_CLIENT_CERT'],
      () => ({ ...good(), TLS_CLIENT_CA_FILE: authority.certFile, TLS_CLIENT_CERT: 'maybe' }),
    ],
  ])('%s', (_, settings, env) => {
    expect(badSettings({ ...REDIS, ...env() })).toEqual(settings);
  });

  const pair = (certFile: string, keyFile: string): Environment => ({
    ...PUBLIC,
    TLS_CERT_FILE: certFile,
    TLS_KEY_FILE: keyFile,
  });
  const good = (): Environment => pair(shard.certFile, shard.keyFile);
  const half = (pem: Buffer): string => pem.toString().slice(0, pem.length / 2);
  const broken = (pem: Buffer): string => pem.toString().replace(/\n[A-Za-z0-9+/]{20}/, '\nAAAAAAAAAAAAAAAAAAAA');

  test('and the process ends with 78', async () => {
    const service = await startServiceProcess(
      { REDIS_URL: sharedRedisUrl('standalone'), TLS_CERT_FILE: shard.certFile, TLS_KEY_FILE: other.keyFile },
      { until: 'nothing' },
    );
    expect(await service.exited).toEqual({ code: 78, signal: null });
    expect(service.output.join('\n')).toContain('TLS_KEY_FILE: ');
    expect(service.output.join('\n')).not.toContain('PRIVATE KEY');
  });
});

test('a certificate that has expired is served, with a warning: the next one comes without a restart', () => {
  const expired = authority.issue('expired', { days: -1 });
  const env = { ...PUBLIC, TLS_CERT_FILE: expired.certFile, TLS_KEY_FILE: expired.keyFile };
  expect(loadConfig(env).warnings).toEqual([expect.stringContaining('TLS_CERT_FILE')]);
});
