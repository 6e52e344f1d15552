import { connect } from '../../src/client/index.js';

const shardkeep = connect(process.argv[2] ?? '127.0.0.1:50051', { timeoutMs: 1_000 });
const { sessions, locks, cache } = shardkeep.rpc;

const login = await sessions.createSession({ userId: 'ada' });
const check = await sessions.validateSession({ sessionToken: login.sessionToken });
const lock = await locks.acquireLock({ resources: ['trade:ada'], ttlMs: 5_000n });
const key = 'user:ada:profile';
await cache.set({ key, value: Buffer.from('{"level":7}'), expiry: { $case: 'ttlMs', value: 60_000n } });
const { entry } = await cache.get({ key });

const token = lock.grants[0]?.fencingToken ?? 'none: held by another';
const user = check.session?.userId ?? 'nobody';
console.log(`${user}: fencing token ${token}, profile ${String(entry?.value)}, ${entry?.ttlMs ?? 0n} ms left`);
await shardkeep.close();
