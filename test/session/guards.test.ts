import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { keys } from '../../src/redis/keys.js';
import { partitionOfSession } from '../../src/session/token.js';
import { failureOf } from '../support/client.js';
import { rawRedis, type RawRedis } from '../support/raw-redis.js';
import { onEachTopology, policiesFile, randomNamespace } from '../support/service.js';

/** Updates of a session that count only while their caller holds a lock or a character. */

const guardOf = (fencingToken: bigint, resource = 'char:7') => ({ resource, fencingToken });
type Guard = ReturnType<typeof guardOf>;

onEachTopology(
  'a guard of UpdateSession',
  (service, topology) => {
    let raw: RawRedis;
    beforeAll(async () => {
      raw = await rawRedis(topology);
    });
    afterAll(async () => {
      await raw.close();
    });

    const login = async (): Promise<string> => {
      const { session } = await service().sessions.createSession({ userId: randomNamespace(), username: 'ada' });
      if (session === undefined) throw new Error('not created');
      return session.sessionId;
    };
    const save = (sessionId: string, zone: string, guard?: Guard) =>
      service().sessions.updateSession({
        ...{ sessionId, guard, updateMask: ['metadata'] },
        fields: {
          ...{ username: '', roles: [], permissions: [], organizationId: '', characterId: '' },
          metadata: new Map([['zone', zone]]),
        },
      });
    const zoneOf = async (sessionId: string): Promise<string | undefined> =>
      (await service().sessions.getSession({ sessionId })).session?.metadata.get('zone');
    const dump = (sessionId: string): Promise<unknown> =>
      raw.command('DUMP', keys.session(service().namespace, partitionOfSession(sessionId) ?? 0, sessionId));
    const old = (token: bigint) => ({
      ...{ code: Code.FAILED_PRECONDITION, reason: 'OLD_FENCING_TOKEN', metadata: { fencing_token: String(token) } },
    });

    test('lets the same and a higher token write; a lower one changes not a byte', async () => {
      const sessionId = await login();
      for (const token of [5n, 5n, 9_007_199_254_740_990n])
        await save(sessionId, `by ${String(token)}`, guardOf(token));
      const before = await dump(sessionId);
      expect(await failureOf(save(sessionId, 'late', guardOf(9_007_199_254_740_989n)))).toMatchObject(
        old(9_007_199_254_740_990n),
      );
      expect(await dump(sessionId)).toEqual(before);
      await save(sessionId, 'on', guardOf(9_007_199_254_740_991n));
      expect(await zoneOf(sessionId)).toBe('on');
    });

    test('counts each resource by itself, and at most four', async () => {
      const sessionId = await login();
      for (const [index, resource] of ['a', 'b', 'c', 'd'].entries()) {
        await save(sessionId, resource, guardOf(BigInt(10 - index), resource));
      }
      expect(await failureOf(save(sessionId, 'late', guardOf(9n, 'a')))).toMatchObject(old(10n));
      expect(await failureOf(save(sessionId, 'late', guardOf(6n, 'd')))).toMatchObject(old(7n));
      await save(sessionId, 'c again', guardOf(8n, 'c'));
      const before = await dump(sessionId);
      expect(await failureOf(save(sessionId, 'e', guardOf(99n, 'e')))).toMatchObject({
        ...{ code: Code.FAILED_PRECONDITION, reason: 'TOO_MANY_GUARDS' },
      });
      expect(await dump(sessionId)).toEqual(before);
    });

    test('is remembered over updates without one, touches and claims, and not when its update failed', async () => {
      const { sessions } = service();
      const { session, sessionToken } = await sessions.createSession({ userId: randomNamespace() });
      const { sessionId = '', userId = '', version = 0n } = session ?? {};
      await save(sessionId, 'guarded', guardOf(7n));
      await save(sessionId, 'free');
      await sessions.validateSession({ sessionToken });
      await sessions.claimCharacter({ userId, sessionId, characterId: 'c' });
      const stale = { sessionId, expectedVersion: version };
      expect(await failureOf(sessions.updateSession({ ...stale, guard: guardOf(50n) }))).toMatchObject({
        code: Code.ABORTED,
      });
      const notANumber = { sessionId, incrementMetadata: new Map([['zone', 1n]]), guard: guardOf(50n) };
      expect(await failureOf(sessions.updateSession(notANumber))).toMatchObject({ reason: 'NOT_AN_INTEGER' });
      expect(await failureOf(save(sessionId, 'late', guardOf(6n)))).toMatchObject(old(7n));
      await save(sessionId, 'next', guardOf(8n));
      expect(await zoneOf(sessionId)).toBe('next');
    });

    test('that races lets the highest token win, whoever comes first', async () => {
      const sessionId = await login();
      const tokens = Array.from({ length: 20 }, (_, index) => BigInt(index + 1)).sort(() => Math.random() - 0.5);
      const saves = await Promise.allSettled(tokens.map((token) => save(sessionId, String(token), guardOf(token))));
      expect(saves[tokens.indexOf(20n)]?.status).toBe('fulfilled');
      expect(await zoneOf(sessionId)).toBe('20');
    });

    test('of a lock: who lost it cannot write over what the next one wrote', async () => {
      const { locks } = service();
      const sessionId = await login();
      const resource = randomNamespace();
      const acquire = async () => {
        const { lockToken, grants } = await locks.acquireLock({ resources: [resource], ttlMs: 60_000n });
        return { lockToken, guard: guardOf(grants[0]?.fencingToken ?? 0n, resource) };
      };
      const first = await acquire();
      await save(sessionId, 'first', first.guard);
      await locks.releaseLock({ resources: [resource], lockToken: first.lockToken });
      const second = await acquire();
      await save(sessionId, 'second', second.guard);
      expect(await failureOf(save(sessionId, 'late', first.guard))).toMatchObject(old(second.guard.fencingToken));
      expect(await zoneOf(sessionId)).toBe('second');
    });
  },
  { POLICIES_FILE: policiesFile({ rpc_limits: [] }) },
);
