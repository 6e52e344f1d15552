import { CacheKeys, connect, InvalidArgumentError, type ConnectOptions, type ShardkeepClient } from 'shardkeep/client';

/** A stranger's program in TypeScript; compiled once as an ES module and once as CommonJS, where nothing awaits on top. */

interface Profile {
  readonly level: number;
}

async function play({ cache, sessions, locks, rateLimits, health }: ShardkeepClient): Promise<string> {
  const login = await sessions.createSession({ userId: 'ada', metadata: { ip: '203.0.113.9' } });
  if (login.status !== 'created') return login.status;
  const check = await sessions.validateSession(login.sessionToken);
  const player: string = check.status === 'valid' ? check.session.userId : check.status;
  await sessions.destroySession(login.session.sessionId);

  const profile = await cache.cacheAside<Profile>(CacheKeys.user('ada'), () => ({ level: 7 }), {
    ttlMs: 60_000,
  });
  const level: number | undefined = profile?.level;

  const fences = await locks.withLock('trade:ada', { waitMs: 1_000 }, async (lock) => {
    await cache.set('inventory:ada', ['sword'], { signal: lock.signal });
    return lock.grants.length;
  });
  const { allowed } = await rateLimits.check('user:ada', 'chat');

  return JSON.stringify([player, level, fences, allowed, await health.check()]);
}

/** Never called. Had the types been lost on the way here, it would compile, and that fails. */
export async function mistaken({ cache, rpc }: ShardkeepClient): Promise<void> {
  // @ts-expect-error a key is text
  await cache.get(7);
  // @ts-expect-error as above, in the messages of the proto
  await rpc.cache.get({ key: 7 });
}

async function main(address: string): Promise<void> {
  const options: ConnectOptions = { timeoutMs: 10_000 };
  const shardkeep = connect(address, options);
  try {
    const refused: unknown = await shardkeep.rpc.cache.get({ key: '' }).catch((error: unknown) => error);
    if (!(refused instanceof InvalidArgumentError) || refused.fields[0] !== 'key') throw new Error(String(refused));
    console.log(await play(shardkeep));
  } finally {
    await shardkeep.close();
  }
}

void main(process.argv[2] ?? '');
