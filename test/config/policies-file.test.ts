import { afterAll, describe, expect, test } from '@jest/globals';
import { loadConfig } from '../../src/config/config.js';
import { PoliciesFiles, problemsOf } from '../support/config.js';

const files = new PoliciesFiles();
afterAll(() => {
  files.remove();
});

const LOCAL = { REDIS_URL: 'redis://redis:7000' };

function load(text: string): ReturnType<typeof loadConfig> {
  return loadConfig({ ...LOCAL, POLICIES_FILE: files.write(text) });
}

describe('a policies file', () => {
  test('replaces what ships by name, adds to it and leaves the rest', () => {
    const shipped = loadConfig(LOCAL);
    const config = load(`
session_profiles:
  raid: { idle_ttl_ms: 1000, absolute_ttl_ms: 0, touch_granularity_ms: 0, max_sessions: 1, at_limit: refuse }
rate_policies:
  chat:
    algorithm: sliding_exact
    limit: 3
    window_ms: 1000
rpc_limits:
  - rpc: shardkeep.cache.v1.CacheService/Set
    policy: chat
    subjects: [{ kind: key, field: key }]
`);
    expect(config.profiles).toEqual({ ...shipped.profiles, raid: expect.objectContaining({ at_limit: 'refuse' }) });
    expect(config.ratePolicies).toEqual({
      ...shipped.ratePolicies,
      chat: { algorithm: 'sliding_exact', limit: 3, window_ms: 1_000 },
    });
    expect(config.rpcLimits).toHaveLength(1);
  });

  test.each([[''], ['# nothing yet\n'], ['{}']])('of %j changes nothing', (text) => {
    expect(load(text)).toEqual(loadConfig(LOCAL));
  });

  test('can take every limit of RPCs away', () => {
    expect(load('rpc_limits: []').rpcLimits).toEqual([]);
  });
});

describe('a bad policies file is refused with the line of', () => {
  const chat = 'rate_policies:\n  chat:\n    algorithm: sliding_exact\n    limit: 3\n    window_ms: 1000\n';
  const limit = 'rpc_limits:\n  - rpc: shardkeep.cache.v1.CacheService/Set\n    policy: chat\n';
  test.each<[string, string, number]>([
    ['bad YAML', 'rate_policies:\n  chat: [1, 2\n', 3],
    ['a key given twice', 'rate_policies: {}\nrate_policies: {}\n', 2],
    ['a tab', 'rate_policies:\n\tchat: 1\n', 2],
    ['a second document', 'rate_policies: {}\n---\nrate_policies: {}\n', 2],
    ['an unknown section', 'rate_policies: {}\nrate_policy: {}\n', 2],
    ['an unknown key', `${chat}    limitt: 4\n`, 6],
    ['a number of the wrong type', chat.replace('limit: 3', 'limit: many'), 4],
    ['a number out of range', chat.replace('limit: 3', 'limit: 8193'), 4],
    ['a fraction', chat.replace('limit: 3', 'limit: 1.5'), 4],
    ['an unknown algorithm', chat.replace('sliding_exact', 'token_bucket'), 3],
    ['a policy without its limit', chat.replace('    limit: 3\n', ''), 2],
    ['a name in capitals', chat.replace('chat', 'Chat'), 2],
    ['a list instead of a map', 'rate_policies:\n  - chat\n', 1],
    ['a text instead of a file', 'hello\n', 1],
    ['a policy that does not exist', `${limit.replace('chat', 'chats')}    subjects: [{ kind: key, field: key }]\n`, 3],
    ['a limit without subjects', `${limit}    subjects: []\n`, 4],
    ['a subject without kind', `${limit}    subjects:\n      - field: key\n`, 5],
    ['a profile that does not say what to do at its limit', 'session_profiles:\n  raid:\n    idle_ttl_ms: 1000\n', 2],
    ['a lifetime that is too long', 'session_profiles:\n  raid:\n    idle_ttl_ms: 31536000001\n', 3],
  ])('%s', (_, text, line) => {
    const path = files.write(text);
    const problems = problemsOf({ ...LOCAL, POLICIES_FILE: path });
    expect(problems).not.toEqual([]);
    expect(problems).toEqual(problems.map(() => expect.stringContaining(`POLICIES_FILE: ${path}:`)));
    expect(problems).toContainEqual(expect.stringContaining(`POLICIES_FILE: ${path}:${String(line)}: `));
  });

  test('everything that is wrong, at once', () => {
    const text = `${chat.replace('3', '0').replace('1000', '1')}session_profiles: { raid: 7 }\n`;
    expect(problemsOf({ ...LOCAL, LOG_LEVEL: 'loud', POLICIES_FILE: files.write(text) })).toHaveLength(4);
  });

  test('more aliases than a file of policies can need', () => {
    const bomb = [
      'a: &a [x]',
      ...'bcdefg'.split('').map((name, index) => {
        const previous = 'abcdef'[index] ?? '';
        return `${name}: &${name} [${`*${previous},`.repeat(9)}]`;
      }),
    ];
    const problems = problemsOf({ ...LOCAL, POLICIES_FILE: files.write(bomb.join('\n')) });
    expect(problems).toEqual([expect.stringContaining('POLICIES_FILE: ')]);
  });
});
