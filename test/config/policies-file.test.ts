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

  test.each([['# nothing yet\n'], ['{}']])('of %j changes nothing', (text) => {
    expect({ ...load(text), policiesSource: undefined }).toEqual(loadConfig(LOCAL));
  });

  test('can take every limit of RPCs away', () => {
    expect(load('rpc_limits: []').rpcLimits).toEqual([]);
  });
});

test.each(['', ' \n\n'])('a policies file with nothing in it, %j, is refused: it may be cut off', (text) => {
  expect(problemsOf({ ...LOCAL, POLICIES_FILE: files.write(text) })).toHaveLength(1);
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
    ['an unknown algorithm', chat.replace('sliding_exact', 'leaky_bucket'), 3],
    ['a policy without its limit', chat.replace('    limit: 3\n', ''), 2],
    ['a name that objects inherit by', chat.replace('chat', '__proto__'), 2],
    ['a role that objects inherit by', `${chat}    tiers:\n      __proto__: 5\n`, 7],
    ['a name in capitals', chat.replace('chat', 'Chat'), 2],
    ['a list instead of a map', 'rate_policies:\n  - chat\n', 1],
    ['a text instead of a file', 'hello\n', 1],
    ['a policy that does not exist', `${limit.replace('chat', 'chats')}    subjects: [{ kind: key, field: key }]\n`, 3],
    ['a field that the request has not', `${limit}    subjects:\n      - { kind: key, field: kee }\n`, 5],
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

  const one = (...lines: string[]): string => `rate_policies:\n  p:\n${lines.map((line) => `    ${line}\n`).join('')}`;
  const exact = ['algorithm: sliding_exact', 'limit: 3', 'window_ms: 1000'];
  const slow = ['algorithm: token_bucket', 'limit: 1', 'window_ms: 2592000000'];
  const daily = ['algorithm: calendar', 'limit: 3', 'unit: day'];
  const parts = (...lines: string[]): string =>
    `rate_policies:\n  p:\n    limits:\n${lines.map((line) => `      - ${line}\n`).join('')}`;
  const part = (per: string): string => `{ per: ${per}, algorithm: fixed, limit: 3, window_ms: 1000 }`;
  test.each<[string, string, number, string]>([
    ['a limit that keeps too much', one(...exact.with(1, 'limit: 8193')), 4, 'limit'],
    ['as many slots', one('algorithm: concurrency', 'limit: 8193', 'window_ms: 1000'), 4, 'limit'],
    ['a limit beyond a billion', one('algorithm: fixed', 'limit: 1000000001', 'window_ms: 1000'), 4, 'limit'],
    ['a window too short', one('algorithm: fixed', 'limit: 1', 'window_ms: 9'), 5, 'window_ms'],
    ['a burst of what has none', one(...exact, 'burst: 5'), 6, 'burst'],
    ['no tokens', one('algorithm: token_bucket', 'limit: 1', 'window_ms: 10', 'burst: 0'), 6, 'burst'],
    ['tokens that nobody lives to see', one(...slow, 'burst: 1738'), 6, 'burst'],
    ['the same for a tier', one(...slow.with(1, 'limit: 2'), 'burst: 1738', 'tiers:', '  slow: 1'), 8, 'tiers.slow'],
    ['the same in a part', parts(`{ per: ip, ${slow.join(', ')}, burst: 1738 }`), 4, 'limits.0.burst'],
    ['a window beside the calendar', one(...daily, 'window_ms: 1000'), 6, 'window_ms'],
    ['a unit that no calendar has', one(...daily.with(2, 'unit: fortnight')), 5, 'unit'],
    ['a time zone that nobody knows', one(...daily, 'time_zone: Europe/Atlantis'), 6, 'time_zone'],
    ['an offset for a time zone', one(...daily, "time_zone: '+02:00'"), 6, 'time_zone'],
    ['a role in capitals', one(...exact, 'tiers:', '  VIP: 5'), 7, 'tiers.VIP'],
    ['a tier above what its algorithm can keep', one(...exact, 'tiers:', '  vip: 8193'), 7, 'tiers.vip'],
    ['an enforcement by half', one(...exact, 'enforcement: half'), 6, 'enforcement'],
    ['more than all', one(...exact, 'enforcement: { percent: 101 }'), 6, 'enforcement'],
    ['a fraction above all', one(...exact, 'on_redis_loss: { local_fraction: 1.5 }'), 6, 'on_redis_loss'],
    ['a loss that does nothing', one(...exact, 'on_redis_loss: shrug'), 6, 'on_redis_loss'],
    ['a block of no time', one(...exact, 'block_ms: 0'), 6, 'block_ms'],
    ['a ladder without steps', one(...exact, 'ban:', '  ladder_ms: []'), 7, 'ban.ladder_ms'],
    ['a ban that does not say when', one(...exact, 'ban: { ladder_ms: [1000] }'), 6, 'ban.after'],
    ['a network that is none', one(...exact, 'allow:', '  - 10.0.0.0/8', '  - 10.0.0.0/33'), 8, 'allow.1'],
    ['an address that is none', one(...exact, 'deny:', "  - '2001:db8:::1'"), 7, 'deny.0'],
    ['an ip that is no address', one(...exact, 'deny:', '  - ip:localhost'), 7, 'deny.0'],
    ['a subject without kind', one(...exact, 'deny: [ada]'), 6, 'deny.0'],
    ['a limit for nobody', parts('{ algorithm: fixed, limit: 3, window_ms: 1000 }'), 4, 'limits.0.per'],
    ['a second limit for a kind', parts(part('ip'), part('user'), part('ip')), 6, 'limits.2.per'],
    ['what is wrong with a part', parts(part('ip'), part('user').replace('3', '0')), 5, 'limits.1.limit'],
    ['no parts', one('limits: []'), 3, 'limits'],
    ['a limit beside parts', one('limit: 3', `limits: [${part('ip')}]`), 3, 'limit'],
  ])('%s', (_, text, line, field) => {
    const path = files.write(text);
    expect(problemsOf({ ...LOCAL, POLICIES_FILE: path })).toContainEqual(
      expect.stringContaining(`POLICIES_FILE: ${path}:${String(line)}: rate_policies.p.${field}`),
    );
  });

  test('a prefix that is no length of networks', () => {
    const path = files.write('ipv6_prefix: 129\n');
    expect(problemsOf({ ...LOCAL, POLICIES_FILE: path })).toEqual([
      expect.stringContaining(`${path}:1: ipv6_prefix: `),
    ]);
  });

  test('a kind of subject that the policy has no limit for', () => {
    const gate = 'rpc_limits:\n  - rpc: shardkeep.cache.v1.CacheService/Set\n    policy: p\n    subjects:\n';
    const path = files.write(`${parts(part('ip'))}${gate}      - { kind: user, field: key }\n`);
    expect(problemsOf({ ...LOCAL, POLICIES_FILE: path })).toEqual([
      expect.stringContaining(`${path}:9: rpc_limits.0.subjects.0.kind: `),
    ]);
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
