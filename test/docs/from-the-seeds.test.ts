import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server as HttpServer } from 'node:http';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { io } from 'socket.io-client';
import { CacheKeys } from '../../src/client/index.js';
import { sharedRedisUrl, startTestService, type TestService } from '../support/service.js';
import { portOf } from '../support/tcp-proxy.js';
import { blocksOf, moduleOf, typeProblemsOf } from './page-blocks.js';

/** The blocks of docs/from-the-seeds.md, each a module of its own that runs as it stands there. */

type Prelude = typeof import('./seeds-prelude.js');

const HERE = fileURLToPath(new URL('.', import.meta.url));
const BLOCKS = join(HERE, `blocks-${String(process.pid)}`);
const page = readFileSync('docs/from-the-seeds.md', 'utf8');
const blocks = blocksOf('docs/from-the-seeds.md');

let service: TestService;
let prelude: Prelude;
let web: HttpServer;
let url = '';
/** What the background tasks end with. */
let lastCleanup: Promise<unknown>;

beforeAll(async () => {
  service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
  process.env.SHARDKEEP_ADDRESS = service.address;
  prelude = await import('./seeds-prelude.js');
  const { locks } = prelude.shardkeep;
  lastCleanup = new Promise((resolve) => {
    const cleanUp = locks.cleanupExpiredLocks.bind(locks);
    jest.spyOn(locks, 'cleanupExpiredLocks').mockImplementation((options) => {
      const cleaned = cleanUp(options);
      resolve(cleaned);
      return cleaned;
    });
  });
  web = createServer(prelude.app as never);
  prelude.io.attach(web);
  url = `http://127.0.0.1:${String(await portOf(web))}`;
  mkdirSync(BLOCKS, { recursive: true });
  const around = { from: '../seeds-prelude.js', values: Object.keys(prelude), types: ['User', 'Character'] };
  for (const { name, code } of blocks) writeFileSync(fileOf(name), moduleOf(code, around));
});

afterAll(async () => {
  rmSync(BLOCKS, { recursive: true, force: true });
  await prelude.io.close();
  await prelude.shardkeep.close();
  web.closeAllConnections();
  await service.stop();
});

function fileOf(name: string): string {
  return join(BLOCKS, `${name}.ts`);
}

/** What is true when a block has run. */
const OUTCOMES: Readonly<Record<string, () => Promise<void> | void>> = {
  connection: () => {
    expect(prelude.done).toEqual([]);
  },
  cache: async () => {
    const { cache } = prelude.shardkeep;
    expect(await cache.getMany(['user:123', 'user:456'])).toEqual([prelude.userData1, prelude.userData2]);
    expect(await cache.getSetMembers('online:users')).toEqual(['user:123']);
    expect(await cache.increment('page:visits', 0)).toBe(1);
  },
  sessions: async () => {
    const { createdCount, ended } = await prelude.shardkeep.sessions.getSessionStats();
    expect([createdCount, ended.destroyed]).toEqual([1, 1]);
  },
  patterns: async () => {
    const { cache } = prelude.shardkeep;
    expect(prelude.done).toEqual([
      'load user 123',
      'update character 456 Thorin',
      'generate global',
      'load guild guild123',
    ]);
    const keys = [CacheKeys.user('123'), CacheKeys.character('456'), CacheKeys.leaderboard('global')];
    expect(await cache.getMany(keys)).toEqual([prelude.userData1, prelude.updatedCharacter, ['global', 'ada', 'bob']]);
    expect(await cache.get(CacheKeys.guild('guild123'))).toBeUndefined();
  },
  locks: async () => {
    expect(prelude.done).toEqual(['combat of user123', 'trade of user123 and user456']);
    const again = await prelude.shardkeep.locks.acquireLock(['combat:user123', 'trade:user123'], { ttlMs: 1_000 });
    expect(again.status).toBe('granted');
  },
  'rate-limits': async () => {
    const post = async (path: string): Promise<number> => (await fetch(`${url}${path}`, { method: 'POST' })).status;
    const statuses: number[] = [];
    for (let count = 0; count < 11; count++) statuses.push(await post('/chat/message'));
    expect(statuses).toEqual([...Array<number>(10).fill(200), 429]);
    expect([await post('/auth/login'), await post('/combat/action')]).toEqual([200, 200]);
    const special: number[] = [];
    for (let count = 0; count < 11; count++) special.push(await post('/combat/special'));
    expect(special).toContain(429);
    const answer = await fetch(`${url}/api/anything`);
    expect(answer.headers.get('ratelimit-policy')).toContain('q=50;w=60');
  },
  keys: () => {
    // what the comments of the block say of each key
    const [, block = ''] = page.split('<!-- block: keys -->');
    const said = [...(block.split('```\n')[0] ?? '').matchAll(/CacheKeys\.(\w+)\(([^)]*)\); \/\/ → '([^']+)'/g)];
    expect(said).toHaveLength(12);
    const make = CacheKeys as Readonly<Record<string, (...ids: string[]) => string>>;
    for (const [, name = '', ids = '', key] of said)
      expect(make[name]?.(...ids.split(', ').map((id) => id.slice(1, -1)))).toBe(key);
  },
  'express-route': async () => {
    const found = await fetch(`${url}/api/users/789`);
    expect([found.status, await found.json()]).toEqual([200, prelude.userData1]);
    await fetch(`${url}/api/users/789`);
    expect((await fetch(`${url}/api/users/404`)).status).toBe(404);
    expect(prelude.done).toEqual(['load user 789', 'load user 404']);
  },
  'socket-io': async () => {
    const login = await prelude.shardkeep.sessions.createSession({ userId: 'ada', characterId: 'hero' });
    if (login.status !== 'created') throw new Error(login.status);
    const player = io(url, { auth: { sessionToken: login.sessionToken }, reconnection: false });
    const left = new Promise((resolve) => player.once('disconnect', resolve));
    const welcome = new Promise((resolve) => player.once('welcome', resolve));
    expect(await welcome).toEqual({ userId: 'ada', characterId: 'hero' });
    await prelude.shardkeep.sessions.destroyUserSessions('ada');
    expect(await left).toBe('io server disconnect');
    const stranger = io(url, { forceNew: true, reconnection: false });
    const refused = await new Promise<{ data?: unknown }>((resolve) => stranger.once('connect_error', resolve));
    expect(refused.data).toMatchObject({ code: 'missing' });
    stranger.close();
  },
  'background-tasks': async () => {
    const keys = [CacheKeys.leaderboard('global'), CacheKeys.leaderboard('weekly')];
    // the block begins its tasks and does not wait for them
    await lastCleanup;
    let boards = await prelude.shardkeep.cache.getMany(keys);
    while (boards.includes(undefined)) boards = await prelude.shardkeep.cache.getMany(keys);
    expect(boards).toEqual(['global', 'weekly'].map((type) => [type, 'ada', 'bob']));
  },
  monitoring: () => {
    expect(prelude.done).toEqual([]);
  },
};

test('every block has an outcome, and every outcome a block', () => {
  expect(blocks.map(({ name }) => name).toSorted()).toEqual(Object.keys(OUTCOMES).toSorted());
  expect([...page.matchAll(/```/g)]).toHaveLength(2 * blocks.length);
});

// eslint-disable-next-line jest/expect-expect -- the outcomes expect
test.each(blocks.map(({ name }) => name))('%s runs as it stands on the page', async (name) => {
  prelude.done.length = 0;
  const log = jest.spyOn(console, 'log').mockReturnValue(undefined);
  await import(fileOf(name)).finally(() => {
    log.mockRestore();
  });
  await OUTCOMES[name]?.();
});

test('the blocks are right by their types', () => {
  expect(typeProblemsOf(blocks.map(({ name }) => fileOf(name)))).toEqual([]);
});
