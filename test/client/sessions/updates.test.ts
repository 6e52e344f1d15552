import { expect, test } from '@jest/globals';
import { AbortedError, NotFoundError, type Sessions } from '../../../src/client/index.js';
import { errorOf } from '../../support/client-error.js';
import { until } from '../../support/redis-server.js';
import { onEachTopology, sharedRedisUrl, startTestService } from '../../support/service.js';
import { startTcpProxy } from '../../support/tcp-proxy.js';
import { client, login, POLICIES_FILE, untouched } from './support.js';

const NOBODY = 'A'.repeat(24);

onEachTopology(
  'a live session',
  (service) => {
    const sessions = (): Sessions => client(service().address).sessions;

    test('is read without a touch; one that is not there is undefined', async () => {
      const { session } = await login(sessions());
      expect(await sessions().getSession(session.sessionId)).toEqual(session);
      await sessions().destroySession(session.sessionId);
      expect(await sessions().getSession(session.sessionId)).toBeUndefined();
      expect((await errorOf(sessions().getSession('no id'))).fields).toEqual(['sessionId']);
    });

    test('is changed in what the changes name, and in nothing else', async () => {
      const { session } = await login(sessions(), {
        ...{ username: 'Ada', roles: ['player'], permissions: ['chat'], organizationId: 'guild', characterId: 'hero' },
        metadata: { ip: '192.0.2.1', level: '7', gold: '12' },
      });
      const updated = await sessions().updateSession(session.sessionId, {
        ...{ username: undefined, roles: ['player', 'admin'], permissions: [], characterId: '' },
        metadata: { region: 'eu', ip: '192.0.2.2' },
        removeMetadataKeys: ['level'],
        incrementMetadata: { gold: -5, kills: 2n ** 62n },
      });
      expect(updated.version).toBeGreaterThan(session.version);
      expect(untouched(updated)).toEqual({
        ...untouched(session),
        ...{ roles: ['player', 'admin'], permissions: [], characterId: undefined },
        metadata: { ip: '192.0.2.2', region: 'eu', gold: '7', kills: String(2n ** 62n) },
        version: updated.version,
      });
      expect(await sessions().getSession(session.sessionId)).toEqual(updated);
    });

    test('each field alone', async () => {
      const { session } = await login(sessions());
      const changes = [
        { username: 'u' },
        { roles: ['r'] },
        { permissions: ['p'] },
        { organizationId: 'o' },
        { characterId: 'c' },
        { metadata: { m: '1' } },
      ];
      let expected = untouched(session);
      for (const change of changes) {
        const updated = await sessions().updateSession(session.sessionId, change);
        expected = { ...expected, ...change, version: updated.version };
        expect(untouched(updated)).toEqual(expected);
      }
    });

    test('is not touched by an update that says so', async () => {
      const { session } = await login(sessions());
      const updated = await sessions().updateSession(session.sessionId, { username: 'x' }, { noTouch: true });
      expect(updated).toEqual({ ...session, username: 'x', version: updated.version });
    });

    test('refuses an update of another version, and tells its own', async () => {
      const { session } = await login(sessions());
      const expectedVersion = session.version;
      const [one, other] = await Promise.allSettled(
        ['a', 'b'].map((username) => sessions().updateSession(session.sessionId, { username }, { expectedVersion })),
      );
      const outcomes = [one, other].map((outcome) => outcome?.status).toSorted();
      expect(outcomes).toEqual(['fulfilled', 'rejected']);
      const conflict: unknown = [one, other].find((outcome) => outcome?.status === 'rejected')?.reason;
      expect(conflict).toBeInstanceOf(AbortedError);
      const current = await sessions().getSession(session.sessionId);
      expect(conflict).toMatchObject({ metadata: { current_version: String(current?.version) } });
    });

    test('refuses an update under a guard that is overtaken', async () => {
      const { session } = await login(sessions());
      const write = (username: string, fencingToken: number) =>
        sessions().updateSession(session.sessionId, { username }, { guard: { resource: 'char:1', fencingToken } });
      await write('new', 8);
      expect(await errorOf(write('old', 7))).toMatchObject({ reason: 'OLD_FENCING_TOKEN' });
      expect(await write('newest', 8)).toMatchObject({ username: 'newest' });
    });

    test('that is not there cannot be changed or extended', async () => {
      expect(await errorOf(sessions().updateSession(NOBODY, { username: 'x' }))).toBeInstanceOf(NotFoundError);
      expect(await errorOf(sessions().extendSession(NOBODY, { ttlMs: 1 }))).toBeInstanceOf(NotFoundError);
    });

    test('is extended, within its other ends', async () => {
      const { session } = await login(sessions(), { profile: 'renewed' });
      const day = await sessions().extendSession(session.sessionId, { ttlMs: 86_400_000 });
      expect(day.expiresAtMs).toBe(session.renewByMs);
      const other = await login(sessions());
      const extended = await sessions().extendSession(other.session.sessionId, { ttlMs: 86_400_000 });
      expect(extended.expiresAtMs).toBe(extended.lastActiveMs + 86_400_000);
      // a touch takes nothing back
      expect((await sessions().extendSession(other.session.sessionId, { ttlMs: 1 })).expiresAtMs).toBe(
        extended.expiresAtMs,
      );
      expect((await errorOf(sessions().extendSession(NOBODY, { ttlMs: 1.5 }))).fields).toEqual(['ttlMs']);
    });
  },
  { POLICIES_FILE },
);

test('an update whose answer is lost is tried again only where that does no harm', async () => {
  const service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone'), POLICIES_FILE });
  const proxy = await startTcpProxy(Number(service.address.split(':')[1]));
  const { sessions } = client(`127.0.0.1:${String(proxy.port)}`);
  const beside = client(service.address).sessions;
  const { session } = await login(beside);
  const { sessionId } = session;
  let { version } = session;

  /** The update arrives, and its answer does not. */
  async function loseAnswer(update: Promise<unknown>): Promise<unknown> {
    const settled = update.then(
      () => 'answered',
      (error: unknown) => (error as { reason?: string }).reason,
    );
    await until(async () => ((await beside.getSession(sessionId))?.version ?? 0) > version);
    proxy.cut('');
    proxy.release();
    const outcome = await settled;
    version = (await beside.getSession(sessionId))?.version ?? 0;
    return outcome;
  }
  const expectedVersion = session.version;
  await sessions.getSession(sessionId);
  proxy.hold('');
  const versioned = sessions.updateSession(sessionId, { username: 'a' }, { expectedVersion });
  expect(await loseAnswer(versioned)).toBe('OUTCOME_UNKNOWN');
  await until(async () => (await sessions.getSession(sessionId)) !== undefined);
  proxy.hold('');
  expect(await loseAnswer(sessions.updateSession(sessionId, { incrementMetadata: { n: 1 } }))).toBe('OUTCOME_UNKNOWN');
  await until(async () => (await sessions.getSession(sessionId)) !== undefined);
  proxy.hold('');
  expect(await loseAnswer(sessions.updateSession(sessionId, { username: 'b' }))).toBe('answered');
  expect(await beside.getSession(sessionId)).toMatchObject({ username: 'b', metadata: { n: '1' } });
  await proxy.close();
  await service.stop();
});
