import { status as Code } from '@grpc/grpc-js';
import { expect, test } from '@jest/globals';
import type { Session } from '../../src/gen/shardkeep/session/v1/session.js';
import { failureOf } from '../support/client.js';
import { until } from '../support/redis-server.js';
import { onEachTopology, policiesFile, randomNamespace } from '../support/service.js';

const POLICIES_FILE = policiesFile({ rpc_limits: [] });

const fields = {
  username: '',
  roles: [],
  permissions: [],
  organizationId: '',
  characterId: '',
  metadata: new Map<string, string>(),
};

onEachTopology(
  'UpdateSession',
  (service) => {
    const login = async (metadata: readonly (readonly [string, string])[] = []): Promise<Session> => {
      const request = { userId: randomNamespace(), username: 'ada', roles: ['player'], metadata: new Map(metadata) };
      const { session } = await service().sessions.createSession(request);
      if (session === undefined) throw new Error('not created');
      return session;
    };

    test('writes the fields of the mask and no others', async () => {
      const before = await login();
      const { session } = await service().sessions.updateSession({
        sessionId: before.sessionId,
        fields: { ...fields, username: 'ignored', characterId: 'char-2', permissions: ['trade'], organizationId: 'o' },
        updateMask: ['character_id', 'permissions', 'organization_id'],
      });
      expect(session).toMatchObject({
        username: 'ada',
        roles: ['player'],
        characterId: 'char-2',
        permissions: ['trade'],
        organizationId: 'o',
        profile: before.profile,
      });
      expect(session?.version).toBeGreaterThan(before.version);
    });

    test('empties what the mask names and the fields leave out', async () => {
      const before = await login();
      const { session } = await service().sessions.updateSession({
        sessionId: before.sessionId,
        fields,
        updateMask: ['username', 'roles'],
      });
      expect(session).toMatchObject({ username: '', roles: [] });
    });

    test('merges metadata, removes keys, then adds to numbers', async () => {
      const before = await login([
        ['ip', '203.0.113.9'],
        ['kills', '41'],
        ['zone', 'north'],
      ]);
      const { session } = await service().sessions.updateSession({
        sessionId: before.sessionId,
        fields: { ...fields, metadata: new Map([['platform', 'ios']]) },
        updateMask: ['metadata'],
        removeMetadataKeys: ['zone', 'never-there'],
        incrementMetadata: new Map([
          ['kills', 1n],
          ['deaths', -3n],
        ]),
      });
      expect(Object.fromEntries(session?.metadata ?? [])).toEqual({
        ip: '203.0.113.9',
        kills: '42',
        platform: 'ios',
        deaths: '-3',
      });
    });

    test.each([
      ['no number', 'twelve', 1n],
      ['an overflow', String(2n ** 63n - 1n), 1n],
      ['an underflow', String(-(2n ** 63n)), -1n],
    ])('incrementing %s is FAILED_PRECONDITION and changes nothing', async (_, value, delta) => {
      const before = await login([['count', value]]);
      const { sessionId } = before;
      const { sessions } = service();
      const failure = await failureOf(
        sessions.updateSession({ sessionId, incrementMetadata: new Map([['count', delta]]) }),
      );
      expect(failure).toMatchObject({ code: Code.FAILED_PRECONDITION, reason: 'NOT_AN_INTEGER' });
      expect((await sessions.getSession({ sessionId })).session).toEqual(before);
    });

    test('more metadata than a session may have is INVALID_ARGUMENT and changes nothing', async () => {
      const before = await login(Array.from({ length: 32 }, (_, index) => [`key-${String(index)}`, 'x'] as const));
      const { sessionId } = before;
      const { sessions } = service();
      const failure = await failureOf(
        sessions.updateSession({ sessionId, incrementMetadata: new Map([['one-more', 1n]]) }),
      );
      expect(failure).toMatchObject({ code: Code.INVALID_ARGUMENT, fields: ['fields.metadata'] });
      expect((await sessions.getSession({ sessionId })).session).toEqual(before);
    });

    test('60 parallel increments all count', async () => {
      const { sessionId } = await login();
      const { sessions } = service();
      const incrementMetadata = new Map([['hits', 1n]]);
      await Promise.all(Array.from({ length: 60 }, () => sessions.updateSession({ sessionId, incrementMetadata })));
      const { session } = await sessions.getSession({ sessionId });
      expect(session?.metadata.get('hits')).toBe('60');
    });

    test('of 20 parallel updates of one expected version exactly one lands, the others are ABORTED', async () => {
      const { sessionId, version } = await login();
      const { sessions } = service();
      const outcomes = await Promise.allSettled(
        Array.from({ length: 20 }, (_, index) =>
          sessions.updateSession({
            sessionId,
            expectedVersion: version,
            fields: { ...fields, characterId: `char-${String(index)}` },
            updateMask: ['character_id'],
          }),
        ),
      );
      expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
      const { session } = await sessions.getSession({ sessionId });
      const failure = await failureOf(sessions.updateSession({ sessionId, expectedVersion: version }));
      expect(failure).toMatchObject({
        code: Code.ABORTED,
        reason: 'VERSION_MISMATCH',
        metadata: { current_version: String(session?.version) },
      });
    });

    test('counts as activity unless no_touch is set', async () => {
      const before = await login();
      const { sessionId } = before;
      const { sessions } = service();
      const { session: kept } = await sessions.updateSession({ sessionId, noTouch: true });
      expect(kept).toMatchObject({ lastActiveMs: before.lastActiveMs, expiresAtMs: before.expiresAtMs });
      await until(async () => {
        const { session } = await sessions.updateSession({ sessionId });
        return session !== undefined && session.lastActiveMs > before.lastActiveMs;
      });
    });

    test('a destroyed session is NOT_FOUND and stays gone', async () => {
      const { sessionId } = await login();
      const { sessions } = service();
      await sessions.destroySession({ sessionId });
      expect((await failureOf(sessions.updateSession({ sessionId }))).code).toBe(Code.NOT_FOUND);
      expect((await failureOf(sessions.getSession({ sessionId }))).code).toBe(Code.NOT_FOUND);
    });
  },
  { POLICIES_FILE },
);
