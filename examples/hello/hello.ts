import { connect } from 'shardkeep/client';

const shardkeep = connect(process.argv[2] ?? '127.0.0.1:50051', { timeoutMs: 1_000 });
const { sessions, locks, cache } = shardkeep;

const login = await sessions.createSession({ userId: 'ada' });
if (login.status !== 'created') throw new Error(login.status);
const check = await sessions.validateSession(login.sessionToken);
const user = check.status === 'valid' ? check.session.userId : 'nobody';

// nobody else trades with ada meanwhile
await locks.withLock('trade:ada', { waitMs: 2_000 }, async ({ fencingToken }) => {
  const profile = await cache.cacheAside('user:ada:profile', () => ({ level: 7 }), { ttlMs: 60_000 });
  console.log(`${user}: fencing token ${String(fencingToken)}, level ${String(profile?.level)}`);
});
await shardkeep.close();
