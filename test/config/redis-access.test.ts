import { afterAll, expect, test } from '@jest/globals';
import { loadConfig } from '../../src/config/config.js';
import type { RedisPlan } from '../../src/redis/roles.js';
import { badSettings, PoliciesFiles } from '../support/config.js';
import type { Environment } from '../support/service.js';

const LOCAL = { REDIS_URL: 'redis://redis:7000' };
const files = new PoliciesFiles();

afterAll(() => {
  files.remove();
});

function targetsOf(env: Environment): Extract<RedisPlan, { kind: 'external' }>['targets'] {
  const { plan } = loadConfig(env).redis;
  if (plan.kind === 'embedded') throw new Error('no Redis is named');
  return plan.targets;
}

test('REDIS_USERNAME and REDIS_PASSWORD_FILE fill what a URL leaves open', () => {
  const env = { REDIS_USERNAME: 'sidecar', REDIS_PASSWORD_FILE: files.write('secret\n') };
  expect(targetsOf({ ...env, ...LOCAL, STATE_REDIS_URL: 'redis://other:own@state' })).toMatchObject({
    cache: { username: 'sidecar', passwordFile: env.REDIS_PASSWORD_FILE },
    state: { username: 'other', password: 'own' },
  });
  expect(badSettings({ NODE_ENV: 'production', ...env, ...LOCAL })).toEqual([]);
  expect(badSettings({ ...env, ...LOCAL, REDIS_PASSWORD: 'secret' })).toEqual(['REDIS_PASSWORD_FILE']);
  expect(badSettings({ ...LOCAL, REDIS_PASSWORD_FILE: files.write('\n') })).toEqual(['REDIS_PASSWORD_FILE']);
  expect(badSettings({ ...LOCAL, REDIS_PASSWORD_FILE: '/nowhere' })).toEqual(['REDIS_PASSWORD_FILE']);
  expect(badSettings({ ...LOCAL, REDIS_USERNAME: 'sidecar' })).toEqual(['REDIS_USERNAME']);
  expect(badSettings({ REDIS_URL: 'redis://sidecar@redis' })).toEqual(['REDIS_USERNAME']);
});

test.each<[string, Environment]>([
  ['REDIS_TLS_CA_FILE', { ...LOCAL, REDIS_TLS_SERVER_NAME: 'redis.internal' }],
  ['REDIS_TLS_CA_FILE', { REDIS_URL: 'rediss://redis', REDIS_TLS_CA_FILE: '/nowhere' }],
  ['REDIS_TLS_CERT_FILE', { REDIS_URL: 'rediss://redis', REDIS_TLS_CERT_FILE: '/nowhere', REDIS_TLS_KEY_FILE: '/no' }],
  ['REDIS_TLS_CERT_FILE', { REDIS_URL: 'rediss://redis', REDIS_TLS_KEY_FILE: '/nowhere' }],
])('%s is named in %j', (setting, env) => {
  expect(badSettings(env)).toEqual([setting]);
});

test('REDIS_TLS_… is for every URL with TLS, wherever it is', () => {
  const env = { REDIS_TLS_SERVER_NAME: 'redis.internal' };
  expect(targetsOf({ ...env, ...LOCAL, STATE_REDIS_URL: 'rediss+cluster://state' })).toMatchObject({
    cache: { tls: false },
    state: { tls: true, tlsFiles: { serverName: 'redis.internal' } },
  });
  expect(badSettings({ ...env, ...LOCAL, LOCK_REDIS_URLS: 'rediss://a,rediss://b,rediss://c' })).toEqual([]);
});
