import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from '@jest/globals';
import { parse } from 'yaml';
import { ENVOY_DOMAIN_FIELDS } from '../../src/config/envoy-domains.js';
import { environmentSchema } from '../../src/config/environment.js';
import { RATE_POLICY_FIELDS } from '../../src/config/rate-policy.js';
import { SHIPPED_RATE_POLICIES } from '../../src/config/shipped-policies.js';
import { problemsOf } from '../support/config.js';
import { pythonWith } from '../support/python.js';
import { sharedRedisUrl, startTestService } from '../support/service.js';

/** The README says what is. */

const run = promisify(execFile);
const readme = readFileSync('README.md', 'utf8');

function blockAfter(marker: string, page = readme): string {
  const match = new RegExp(`<!-- ${marker} -->\\n\`\`\`\\w+\\n([\\s\\S]*?)\n\`\`\``).exec(page);
  if (match?.[1] === undefined) throw new Error(`no block after ${marker}`);
  return match[1];
}

test.each(['examples/hello/hello.ts', 'examples/hello/hello.py'])('shows %s as it is', (file) => {
  expect(blockAfter(file)).toBe(readFileSync(file, 'utf8').trimEnd());
});

test.each(['examples/cache/load-through.ts', 'examples/cache/watched_cache.py'])('docs/cache.md shows %s', (file) => {
  expect(blockAfter(file, readFileSync('docs/cache.md', 'utf8'))).toBe(readFileSync(file, 'utf8').trimEnd());
});

test.each(['examples/sessions/play.ts', 'examples/sessions/character.ts', 'examples/sessions/kicked.py'])(
  'docs/sessions.md shows %s',
  (file) => {
    expect(blockAfter(file, readFileSync('docs/sessions.md', 'utf8'))).toBe(readFileSync(file, 'utf8').trimEnd());
  },
);

test.each(['examples/locks/trade.ts'])('docs/locks.md shows %s', (file) => {
  expect(blockAfter(file, readFileSync('docs/locks.md', 'utf8'))).toBe(readFileSync(file, 'utf8').trimEnd());
});

test.each([
  ['rate-limits', 'login-policies.yaml'],
  ['rate-limits', 'login.ts'],
  ['rate-limits', 'login.py'],
  ['rate-limits', 'chat.ts'],
  ['rate-limits', 'slots.ts'],
  ['rate-limits', 'policies.yaml'],
  ['envoy', 'envoy-policies.yaml'],
])('docs/%s.md shows %s', (page, name) => {
  const file = `examples/rate-limits/${name}`;
  expect(blockAfter(file, readFileSync(`docs/${page}.md`, 'utf8'))).toBe(readFileSync(file, 'utf8').trimEnd());
});

test.each([
  'examples/integrations/express-api.ts',
  'examples/integrations/fastify.ts',
  'examples/integrations/express-session.ts',
  'examples/integrations/keyv.ts',
  'examples/socketio-chat/chat.ts',
])('docs/integrations.md shows %s', (file) => {
  expect(blockAfter(file, readFileSync('docs/integrations.md', 'utf8'))).toBe(readFileSync(file, 'utf8').trimEnd());
});

test.each([
  [
    'integrations/express-api.ts',
    [
      'without a session: 401',
      'with one: {"name":"ada","level":7}',
      'sessions: 1',
      'of 25 at once: 7 denied',
      'logged out everywhere: 401',
    ],
  ],
  ['integrations/fastify.ts', ['without a session: 401', 'with one: {"user":"ada"}', 'guesses: 200 200 200 429']],
  ['integrations/express-session.ts', ['visit 1', 'visit 2']],
  ['integrations/moving-store.ts', ['in the old store: visit 1', 'moved: visit 2', 'without the old store: visit 3']],
  ['integrations/keyv.ts', ['{"price":100}', 'undefined']],
])('examples/%s does what it says', async (name, lines) => {
  const output = await outputOf('node_modules/.bin/tsx', [`examples/${name}`]);
  expect(output.trim().split('\n')).toEqual(lines);
});

test('docs/operations/migration.md shows examples/integrations/moving-store.ts', () => {
  const file = 'examples/integrations/moving-store.ts';
  const page = readFileSync('docs/operations/migration.md', 'utf8');
  expect(blockAfter(file, page)).toBe(readFileSync(file, 'utf8').trimEnd());
});

const POLICIES_FILES = ['login-policies.yaml', 'policies.yaml', 'envoy-policies.yaml'].map(
  (name) => `examples/rate-limits/${name}`,
);

test.each(POLICIES_FILES)('%s can be used', (file) => {
  expect(problemsOf({ REDIS_URL: sharedRedisUrl('standalone'), POLICIES_FILE: file })).toEqual([]);
});

test('docs/rate-limits.md and its example name every field of rate policies', () => {
  const page = readFileSync('docs/rate-limits.md', 'utf8');
  const [, fields = ''] = page.split('\n### Fields\n');
  const rows = (fields.split('\n### ')[0] ?? '').split('\n').filter((line) => line.startsWith('| `'));
  const named = rows.flatMap((row) =>
    [...(row.split('|')[1] ?? '').matchAll(/`([a-z0-9_]+)`/g)].map(([, name]) => name),
  );
  expect(named.toSorted()).toEqual([...RATE_POLICY_FIELDS, 'limits', 'ipv6_prefix'].toSorted());
  const example = readFileSync('examples/rate-limits/policies.yaml', 'utf8');
  expect(named.filter((name) => !new RegExp(`\\b${String(name)}: `).test(example) && name !== 'limits')).toEqual([]);
});

test('the example of proxies has every field of their domains, and the proxy asks for one that is there', () => {
  const example = readFileSync('examples/rate-limits/envoy-policies.yaml', 'utf8');
  expect(ENVOY_DOMAIN_FIELDS.filter((name) => !new RegExp(`\\b${name}:`).test(example))).toEqual([]);
  const proxy = readFileSync('examples/rate-limits/envoy.yaml', 'utf8');
  parse(proxy);
  const { envoy_domains: domains } = parse(example) as { envoy_domains: object };
  expect(Object.keys(domains)).toContain(/domain: (\w+)/.exec(proxy)?.[1]);
});

test("the README's table of rate policies has those that ship", () => {
  const [, table = ''] = readme.split('\nShipped rate policies');
  const rows = (table.split('\n## ')[0] ?? '').split('\n').filter((line) => line.startsWith('| `'));
  const shipped = Object.entries(SHIPPED_RATE_POLICIES).map(([name, policy]) => {
    if (!('window_ms' in policy)) throw new Error(`no window: ${name}`);
    const { algorithm, limit, window_ms: ms, on_redis_loss: loss } = policy;
    const window = ms % 60_000 === 0 ? `${String(ms / 60_000)} min` : `${String(ms / 1_000)} s`;
    const onLoss = typeof loss === 'object' ? `local_fraction: ${String(loss.local_fraction)}` : loss;
    return `| \`${name}\` | \`${algorithm}\` | ${String(limit)} | ${window} | \`${String(onLoss)}\``;
  });
  // the last cell may say more
  expect(rows.map((row, index) => row.slice(0, shipped[index]?.length))).toEqual(shipped);
});

test('the table and .env.example name every setting and no other', () => {
  const settings = Object.keys(environmentSchema.shape).toSorted();
  const rows = readme.split('\n').filter((line) => line.startsWith('| `'));
  const named = rows.flatMap((row) => [...(row.split('|')[1] ?? '').matchAll(/`([A-Z_]+)`/g)].map(([, name]) => name));
  const inProse = ['REDIS_KEY_PREFIX'];
  expect([...named, ...inProse].toSorted()).toEqual(settings);
  const example = readFileSync('.env.example', 'utf8');
  const exampled = new Set([...example.matchAll(/^#? ?([A-Z_]+)=/gm)].map(([, name]) => name));
  expect([...exampled].toSorted()).toEqual(settings);
});

interface OutputOptions {
  readonly env?: NodeJS.ProcessEnv;
  /** Of the service, beside its Redis. */
  readonly settings?: Record<string, string>;
}

/** The standard output of a program that is told where a service is. */
async function outputOf(
  program: string,
  args: readonly string[],
  { env = process.env, settings = {} }: OutputOptions = {},
): Promise<string> {
  const service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone'), ...settings });
  try {
    return (await run(program, [...args, service.address], { env })).stdout;
  } finally {
    await service.stop();
  }
}

test('two trades in opposite directions both come about', async () => {
  const lines = (await outputOf('node_modules/.bin/tsx', ['examples/locks/trade.ts'])).trim().split('\n');
  expect(lines).toEqual(['bob has the sword', 'ada has the shield']);
});

test('a flood of chat is held to the limits of player and guild', async () => {
  const output = await outputOf('node_modules/.bin/tsx', ['examples/rate-limits/chat.ts']);
  expect(output.trim().split('\n')).toEqual([
    'ada says 10 of 12',
    'bob says 5 of 12, for the guild has had enough',
    'bob has 5 left elsewhere',
    'the line cost 12 of 40',
  ]);
});

const LOGINS = { POLICIES_FILE: 'examples/rate-limits/login-policies.yaml' };
const SIXTH_LOGIN = 'let in, let in, let in, let in, let in, user is over: again in 15 min\n';

test('the sixth login of a user is denied', async () => {
  expect(await outputOf('node_modules/.bin/tsx', ['examples/rate-limits/login.ts'], { settings: LOGINS })).toBe(
    SIXTH_LOGIN,
  );
});

test('one match has a slot at once, until it ends or the slot is lost', async () => {
  const output = await outputOf('node_modules/.bin/tsx', ['examples/rate-limits/slots.ts']);
  expect(output.trim().split('\n')).toEqual([
    'a match has begun',
    'no slot for a second one',
    'the next match has begun',
    'SLOTS_LOST: the match is stopped',
  ]);
});

test('the TypeScript client runs', async () => {
  expect(await outputOf('node_modules/.bin/tsx', ['examples/hello/hello.ts'])).toMatch(/^ada: fencing token \d+, /);
});

test('a hundred callers load once', async () => {
  const output = await outputOf('node_modules/.bin/tsx', ['examples/cache/load-through.ts']);
  expect(output).toBe('100 callers, 1 load: board 1\nafter the season: board 2\n');
});

test("a player's evening goes as it is told", async () => {
  const output = await outputOf('node_modules/.bin/tsx', ['examples/sessions/play.ts']);
  expect(output.split('\n')).toEqual([
    "plays: [ 'player' ]",
    'asked again: step_up · new proof: true',
    'still plays: Back at six',
    'out: revoked maintenance, Back at six',
    '',
  ]);
});

test('a character is played by one shard', async () => {
  const output = await outputOf('node_modules/.bin/tsx', ['examples/sessions/character.ts']);
  expect(output).toBe('the first shard drops the player\nlevel 7, in the second login\n');
});

const python = pythonWith('grpc', 'grpc_tools');
// grpcio and grpcio-tools are not there on every machine; the tests are then counted as skipped
const withPython = python === undefined ? test.skip : test;

async function outputOfPython(file: string, settings: Record<string, string> = {}): Promise<string> {
  if (python === undefined) throw new Error('unreachable');
  const out = mkdtempSync(join(tmpdir(), 'shardkeep-test-python-'));
  const protos = readdirSync('proto', { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.proto'));
  const flags = ['-I', 'proto', `--python_out=${out}`, `--grpc_python_out=${out}`];
  await run(python, ['-m', 'grpc_tools.protoc', ...flags, ...protos]);
  return outputOf(python, [file], { env: { ...process.env, PYTHONPATH: out }, settings });
}

withPython('the Python client runs', async () => {
  expect(await outputOfPython('examples/hello/hello.py')).toMatch(/^ada: fencing token \d+, /);
});

withPython('the sixth login of a user is denied in Python', async () => {
  expect(await outputOfPython('examples/rate-limits/login.py', LOGINS)).toBe(SIXTH_LOGIN);
});

withPython('a cache in Python is kept true by Watch', async () => {
  expect(await outputOfPython('examples/cache/watched_cache.py')).toBe('sword, then axe, then None; kept: True\n');
});

withPython('a game server in Python hears of a session that ends', async () => {
  const output = await outputOfPython('examples/sessions/kicked.py');
  expect(output).toBe('thrown out: banned\nstill connected: 0\n');
});
