import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createClient } from 'redis';
import {
  aclRules,
  checkPermissionsScript,
  CLUSTER_COMMANDS,
  commandsOf,
  CONNECTION_COMMANDS,
  DATABASE_COMMANDS,
  REPLICA_COMMANDS,
  grantOf,
  ROLE_COMMANDS,
} from '../../src/redis/permissions.js';
import { SERVICE_USER, serviceRules, shippedRules, SHIPPED_USERS } from '../support/redis-user.js';
import { serviceUrl, startRedis, type RedisServer } from '../support/redis-server.js';

const SRC = fileURLToPath(new URL('../../src', import.meta.url));
const PLAIN_COMMANDS = [
  ...CONNECTION_COMMANDS,
  ...ROLE_COMMANDS,
  ...CLUSTER_COMMANDS,
  ...DATABASE_COMMANDS,
  ...REPLICA_COMMANDS,
];

function sourcesUnder(folder: string, ending: string): { readonly source: string }[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith(ending) && !/^(?:gen|client|integrations)\//.test(file))
    .map((file) => ({ source: readFileSync(join(folder, file), 'utf8') }));
}

/** A Redis with the user as it ships, but for the password; nobody but the tests is another one. */
let redis: RedisServer;

beforeAll(async () => {
  redis = await startRedis(['--user', SERVICE_USER, ...serviceRules(['aeturnis']), '--enable-debug-command', 'yes']);
});

afterAll(async () => {
  await redis.remove();
});

async function asService<Answer>(use: (send: (...command: string[]) => Promise<unknown>) => Promise<Answer>) {
  const client = createClient({ url: serviceUrl(redis.port), disableClientInfo: true, maintNotifications: 'disabled' });
  await client.connect();
  try {
    return await use((...command) => client.sendCommand(command));
  } finally {
    client.destroy();
  }
}

describe('the file that ships', () => {
  test('grants what scripts and connections of this build send, and nothing else', () => {
    const needed = [...PLAIN_COMMANDS, ...commandsOf(sourcesUnder(SRC, '.lua'))];
    expect(shippedRules(SERVICE_USER).slice(2)).toEqual(aclRules(needed, ['aeturnis']));
  });

  test('is one that Redis takes, and lets nobody in before passwords are set', async () => {
    const rules = readFileSync(SHIPPED_USERS, 'utf8').trim().split('\n');
    for (const rule of rules) {
      const [, user = '', ...parts] = rule.split(' ');
      expect(await redis.command('ACL', 'SETUSER', `as-shipped-${user}`, ...parts)).toBe('OK');
      // the default user is who replays the append-only file: it may write, and nobody can be it
      if (user === 'default') expect(parts).toEqual(['off', 'resetpass', 'allkeys', '-@all', '+@write']);
      else expect(parts).toContain(`#${'0'.repeat(64)}`);
    }
  });
});

test('the commands beside those of scripts are the ones that the code names', async () => {
  const known = new Set(String(await redis.command('COMMAND', 'LIST')).split(','));
  const named = sourcesUnder(SRC, '.ts').flatMap(({ source }) => [
    ...[...source.matchAll(/\[\s*'([A-Z]+)'(?:, '([A-Z]+)')?/g)].map(([, command = '', sub]) => grantOf(command, sub)),
    ...(source.includes('.sSubscribe(') ? ['ssubscribe', 'sunsubscribe'] : []),
  ]);
  const sent = named.filter((grant) => known.has(grant.split('|', 1)[0] ?? ''));
  // node-redis finds the nodes of a Cluster, and chooses a database, by itself
  expect([...new Set([...sent, 'cluster|slots', 'select'])].sort()).toEqual([...PLAIN_COMMANDS].sort());
});

const REFUSED: readonly (readonly [string, ...string[]])[] = [
  ['FLUSHALL'],
  ['FLUSHDB'],
  ['KEYS', '*'],
  ['CONFIG', 'GET', '*'],
  ['CONFIG', 'SET', 'dir', '/tmp'],
  ['DEBUG', 'SLEEP', '0'],
  ['SHUTDOWN', 'NOSAVE'],
  ['MODULE', 'LIST'],
  ['SAVE'],
  ['BGSAVE'],
  ['REPLICAOF', 'NO', 'ONE'],
  ['ACL', 'LIST'],
  ['MONITOR'],
  ['SCRIPT', 'FLUSH'],
  ['SCRIPT', 'KILL'],
  ['FUNCTION', 'LIST'],
  ['CLIENT', 'LIST'],
  ['CLIENT', 'KILL', 'TYPE', 'normal'],
  ['CLUSTER', 'RESET'],
  ['MIGRATE', '127.0.0.1', '1', 'aeturnis:x', '0', '1'],
  ['SWAPDB', '0', '1'],
  ['GET', 'another:cache:{x}'],
  ['SSUBSCRIBE', 'another:standings'],
];

describe('the user that ships is refused', () => {
  test.each(REFUSED)('%s %s', async (...command) => {
    await expect(asService((send) => send(...command))).rejects.toThrow(/^NOPERM /);
  });

  test.each([...REFUSED.slice(0, 3), ['DEL', 'another:cache:{x}'], ['SPUBLISH', 'another:standings', 'x']])(
    'the same inside of a script: %s %s',
    async (...command) => {
      const body = 'return redis.call(unpack(ARGV))';
      await redis.command('SET', 'another:cache:{x}', 'kept');
      await expect(asService((send) => send('EVAL', body, '0', ...command))).rejects.toThrow(
        /The user executing the script can't|ACL failure in script/,
      );
      expect(await redis.command('GET', 'another:cache:{x}')).toBe('kept');
    },
  );

  test('and may do what it has to', async () => {
    await asService(async (send) => {
      expect(await send('EVAL', 'return redis.call("SET", KEYS[1], 1)', '1', 'aeturnis:cache:{x}')).toBe('OK');
      expect(await send('GET', 'aeturnis:cache:{x}')).toBe('1');
    });
  });
});

describe('what is missing is told', () => {
  async function missingFor(rules: readonly string[], namespace = 'aeturnis'): Promise<unknown> {
    await redis.command('ACL', 'SETUSER', SERVICE_USER, 'reset', ...serviceRules(['aeturnis']), ...rules);
    const commands = [...new Set([...PLAIN_COMMANDS, ...commandsOf(sourcesUnder(SRC, '.lua'))])];
    const { script, args } = checkPermissionsScript.bind({}, { namespace, '...commands': commands });
    return asService((send) => send('EVAL', script.source, '0', ...args.map(String)));
  }

  test.each([
    ['nothing', [], 'aeturnis', []],
    ['a command', ['-xadd', '-zscan'], 'aeturnis', ['+xadd', '+zscan']],
    ['a subcommand', ['-script|load', '-client|tracking'], 'aeturnis', ['+client|tracking', '+script|load']],
    ['keys', ['resetkeys', '~another:*'], 'aeturnis', ['~aeturnis:*']],
    ['channels', ['resetchannels'], 'aeturnis', ['&aeturnis:*']],
    ['another namespace', [], 'realm-2', ['&realm-2:*', '~realm-2:*']],
    ['of no namespace', ['resetkeys', 'resetchannels', '-xadd', '-time'], '', ['+time']],
  ] as const)('%s', async (_, rules, namespace, missing) => {
    const told = await missingFor(rules, namespace);
    expect([...(told as string[])].sort()).toEqual(missing);
  });
});
