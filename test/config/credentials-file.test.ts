import { afterAll, describe, expect, test } from '@jest/globals';
import { loadConfig } from '../../src/config/config.js';
import { badSettings, problemsOf } from '../support/config.js';
import { CredentialsFile, newToken } from '../support/credentials.js';

/** What a credentials file may say, and what is said of one that may not. */

const file = new CredentialsFile();
afterAll(() => {
  file.remove();
});

const LOCAL = { REDIS_URL: 'redis://127.0.0.1:1', CREDENTIALS_FILE: file.path };
const OPEN = { ...LOCAL, GRPC_LISTEN: '0.0.0.0:50051', ALLOW_PLAINTEXT: '1' };
const { text: secret, sha256 } = newToken();

const load = (text: string) => {
  file.writeText(text);
  return loadConfig(LOCAL);
};
const problems = (text: string): readonly string[] => {
  file.writeText(text);
  return problemsOf(LOCAL);
};
const principal = (...lines: readonly string[]): string =>
  ['principals:', '  - name: shard', '    namespaces: [game]', ...lines.map((line) => `    ${line}`), ''].join('\n');

test('a principal needs a name and a namespace, and has no rights beyond the usual', () => {
  const config = load(principal());
  expect(config.namespaces).toEqual(['game']);
  expect(config.credentials?.principals).toEqual([
    {
      ...{ name: 'shard', namespaces: ['game'], tokens: [], certificates: [] },
      ...{ inline_policies: false, admin: false },
    },
  ]);
});

test('the namespaces of all principals are served, each once', () => {
  const second = '  - { name: tool, namespaces: [game, stage] }\n';
  expect(load(principal() + second).namespaces).toEqual(['game', 'stage']);
});

test('a NAMESPACE in which no principal works is told', () => {
  file.writeText(principal());
  const warned = (NAMESPACE: string): number => loadConfig({ ...LOCAL, NAMESPACE }).warnings.length;
  expect([warned('game'), warned('stage')]).toEqual([0, 1]);
});

test('hashes may be written in capitals, and a time in any zone', () => {
  const lines = ['tokens:', `  - { sha256: "${sha256.toUpperCase()}", expires_at: 2027-01-31T01:00:00+01:00 }`];
  expect(load(principal(...lines)).credentials?.principals[0]?.tokens).toEqual([
    { sha256, expires_at: Date.UTC(2027, 0, 31) },
  ]);
});

describe('is refused, with the line,', () => {
  const wrong: readonly (readonly [string, string, number, string])[] = [
    ['a token in place of its hash', principal('tokens:', `  - sha256: ${secret}`), 5, 'principals.0.tokens.0.sha256'],
    ['a token under a name of its own', principal('tokens:', `  - token: ${secret}`), 5, 'principals.0.tokens.0'],
    ['a token as a key', principal(`${secret}: yes`), 2, 'principals.0'],
    [
      'a hash twice',
      principal(`tokens: [{ sha256: ${sha256} }, { sha256: ${sha256} }]`),
      4,
      'principals.0.tokens.1.sha256',
    ],
    ['a day as a time', principal('tokens:', `  - { sha256: ${sha256}, expires_at: 2027-01-31 }`), 5, 'expires_at'],
    ['a namespace that is none', 'principals:\n  - name: a\n    namespaces: [Game]\n', 3, 'principals.0.namespaces.0'],
    ['no namespace', 'principals:\n  - name: a\n    namespaces: []\n', 3, 'principals.0.namespaces'],
    ['a namespace twice', 'principals:\n  - name: a\n    namespaces: [b, b]\n', 3, 'principals.0.namespaces'],
    ['a name twice', `${principal()}  - { name: shard, namespaces: [game] }\n`, 4, 'principals.1.name'],
    ['a certificate of no kind', principal('certificates: [shard.game]'), 4, 'principals.0.certificates.0'],
    ['an RPC that there is not', principal('rpcs: [shardkeep.cache.v1.CacheService/Grab]'), 4, 'principals.0.rpcs.0'],
    ['a service that there is not', principal('rpcs: [shardkeep.cash.v1.CashService/*]'), 4, 'principals.0.rpcs.0'],
    ['no count', principal('max_in_flight: 0'), 4, 'principals.0.max_in_flight'],
    ['an unknown setting', principal('max_stream: 1'), 2, 'principals.0'],
    ['no principal', 'principals: []\n', 1, 'principals'],
  ];

  test.each(wrong)('%s', (_, text, line, field) => {
    const found = problems(text);
    expect(found).not.toEqual([]);
    expect(found[0]).toMatch(new RegExp(`^CREDENTIALS_FILE: ${file.path}:${String(line)}: .*${field}`));
    expect(found.join('\n')).not.toContain(secret);
    expect(found.join('\n')).not.toContain(sha256);
  });

  test.each(['', '   \n', `principals: [\n  ${secret}`, `${secret}: *nobody`, `a: *${secret}`, secret])(
    'what is no such file, and nothing of it is told: %#',
    (text) => {
      const found = problems(text);
      expect(found.length).toBeGreaterThan(0);
      expect(found.every((problem) => problem.startsWith('CREDENTIALS_FILE: '))).toBe(true);
      expect(found.join('\n')).not.toContain(secret);
    },
  );

  test('and several things at once', () => {
    expect(problems(principal('max_in_flight: 0', 'max_streams: none', 'rpcs: ["*", "?"]'))).toHaveLength(3);
  });
});

test('what other machines reach is served with a file, or when it is said that everybody may do everything', () => {
  file.writeText(principal());
  const without = { ...OPEN, CREDENTIALS_FILE: '' };
  expect(badSettings(OPEN)).toEqual([]);
  expect(badSettings(without)).toEqual(['CREDENTIALS_FILE']);
  expect(badSettings({ ...without, ALLOW_ANONYMOUS: '1' })).toEqual([]);
  for (const listen of ['127.0.0.1:1', 'localhost:1', '[::1]:1', 'unix:/run/shardkeep.sock']) {
    expect(badSettings({ ...without, GRPC_LISTEN: listen })).toEqual([]);
  }
  expect(badSettings({ ...LOCAL, CREDENTIALS_FILE: '/no/such/file' })).toEqual(['CREDENTIALS_FILE']);
});

test('locks of redlock are outside all namespaces, so that there can be only one', () => {
  const redlock = { ...LOCAL, LOCK_COMPATIBLE: 'redlock' };
  file.writeText(principal());
  expect(badSettings(redlock)).toEqual([]);
  file.writeText(`${principal()}  - { name: tool, namespaces: [stage] }\n`);
  expect(badSettings(redlock)).toEqual(['CREDENTIALS_FILE']);
});
