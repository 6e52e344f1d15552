import { connect, InvalidArgumentError, type ConnectOptions, type ShardkeepClient } from 'shardkeep/client';

/** A stranger's program in TypeScript; compiled once as an ES module and once as CommonJS, where nothing awaits on top. */

const TTL_MS = 60_000n;

async function shopAndTrade({ rpc, health }: ShardkeepClient): Promise<string> {
  const login = await rpc.sessions.createSession({ userId: 'ada', metadata: new Map([['ip', '203.0.113.9']]) });
  const seen = await rpc.sessions.validateSession({ sessionToken: login.sessionToken });
  const resources = ['trade:ada'];
  const { grants, lockToken } = await rpc.locks.acquireLock({ resources, ttlMs: 5_000n });
  await rpc.locks.releaseLock({ resources, lockToken });
  await rpc.cache.set({ key: 'typed', value: Buffer.from('sword'), expiry: { $case: 'ttlMs', value: TTL_MS } });
  const { entry } = await rpc.cache.get({ key: 'typed' });
  const policy = { $case: 'policyName', value: 'chat' } as const;
  const { allowed } = await rpc.rateLimits.checkRateLimit({ limits: [{ subject: 'user:ada', policy }] });
  const status = await health.check();
  const answers: readonly [string | undefined, number, string | undefined, boolean, string] = [
    seen.session?.userId,
    grants.length,
    entry?.value.toString(),
    allowed,
    status,
  ];
  return JSON.stringify(answers);
}

/** Never called. Had the types been lost on the way here, it would compile, and that fails. */
export function mistaken({ rpc }: ShardkeepClient): Promise<unknown> {
  // @ts-expect-error a key is text
  return rpc.cache.get({ key: 7 });
}

async function main(address: string): Promise<void> {
  const options: ConnectOptions = { timeoutMs: 10_000 };
  const shardkeep = connect(address, options);
  try {
    const refused: unknown = await shardkeep.rpc.cache.get({ key: '' }).catch((error: unknown) => error);
    if (!(refused instanceof InvalidArgumentError) || refused.fields[0] !== 'key') throw new Error(String(refused));
    console.log(await shopAndTrade(shardkeep));
  } finally {
    await shardkeep.close();
  }
}

void main(process.argv[2] ?? '');
