import { expect, test } from '@jest/globals';
import {
  CreateSessionStatus,
  DeviceClass,
  type CreateSessionRequest,
  type CreateSessionResponse,
  type Session,
} from '../../src/gen/shardkeep/session/v1/session.js';
import { until } from '../support/redis-server.js';
import { onEachTopology, policiesFile, randomNamespace } from '../support/service.js';

const profile = { idle_ttl_ms: 3_600_000, absolute_ttl_ms: 0, touch_granularity_ms: 0, at_limit: 'evict_oldest' };
const byClass = { max_sessions: 4, max_sessions_by_device_class: { mobile: 1, web: 2, other: 2 } };
const POLICIES_FILE = policiesFile({
  rpc_limits: [],
  session_profiles: {
    many: { ...profile, max_sessions: 0 },
    two: { ...profile, max_sessions: 2 },
    classes: { ...profile, ...byClass },
    idlest_of_class: { ...profile, ...byClass, at_limit: 'evict_least_recently_active' },
    refuse_class: { ...profile, ...byClass, at_limit: 'refuse' },
  },
});

const { CREATED, SESSION_LIMIT } = CreateSessionStatus;

const on = (platform: string) => new Map([['platform', platform]]);

onEachTopology(
  'limits by class of device, and in all',
  (service) => {
    const create = (request: Partial<CreateSessionRequest>): Promise<CreateSessionResponse> =>
      service().sessions.createSession({ profile: 'many', ...request });

    async function created(request: Partial<CreateSessionRequest>): Promise<{
      readonly session: Session;
      readonly id: string;
      readonly token: string;
      readonly reply: CreateSessionResponse;
    }> {
      const reply = await create(request);
      if (reply.session === undefined) throw new Error(`not created: ${String(reply.status)}`);
      return { session: reply.session, id: reply.session.sessionId, token: reply.sessionToken, reply };
    }

    const listed = (userId: string) => service().sessions.listUserSessions({ userId });

    test('each platform has its class', async () => {
      const userId = randomNamespace();
      const platforms = {
        ios: DeviceClass.MOBILE,
        iOS: DeviceClass.MOBILE,
        web: DeviceClass.WEB,
        linux: DeviceClass.DESKTOP,
      };
      const more = { xbox: DeviceClass.CONSOLE, toaster: DeviceClass.UNSPECIFIED, '': DeviceClass.UNSPECIFIED };
      for (const [platform, deviceClass] of Object.entries({ ...platforms, ...more })) {
        expect((await created({ userId, metadata: on(platform) })).session.deviceClass).toBe(deviceClass);
      }
    });

    test('a session of the class goes first, then one of all', async () => {
      const userId = randomNamespace();
      const login = (platform: string) => created({ userId, profile: 'classes', metadata: on(platform) });
      const desktop = await login('windows');
      const phone = await login('ios');
      const browser = await login('web');
      const tablet = await login('android');
      expect(tablet.reply.evictedSessionIds).toEqual([phone.id]);
      const console = await login('switch');
      expect(console.reply.evictedSessionIds).toEqual([]);
      // four: no desktop limit, so the oldest of all
      const mac = await login('macos');
      expect(mac.reply.evictedSessionIds).toEqual([desktop.id]);
      // both limits: the one of the class is enough
      const phoneAgain = await login('ios');
      expect(phoneAgain.reply.evictedSessionIds).toEqual([tablet.id]);
      const { sessions } = await listed(userId);
      expect(sessions.map(({ sessionId }) => sessionId)).toEqual([browser.id, console.id, mac.id, phoneAgain.id]);
    });

    test('of a class the one goes that was idle longest', async () => {
      const userId = randomNamespace();
      const login = (platform: string) => created({ userId, profile: 'idlest_of_class', metadata: on(platform) });
      const first = await login('web');
      const second = await login('web');
      await until(async () => {
        const { session } = await service().sessions.validateSession({ sessionToken: first.token });
        return session !== undefined && session.lastActiveMs > second.session.lastActiveMs;
      });
      expect((await login('web')).reply.evictedSessionIds).toEqual([second.id]);
    });

    test('a class that is full refuses, others do not, and the list has the sessions of all', async () => {
      const userId = randomNamespace();
      const login = (platform: string) => create({ userId, profile: 'refuse_class', metadata: on(platform) });
      const made = [await login('ios'), await login('toaster'), await login('')];
      const refused = await login('android');
      expect(refused.status).toBe(SESSION_LIMIT);
      expect(refused.liveSessions).toEqual(made.map(({ session }) => session));
      expect((await login('fridge')).status).toBe(SESSION_LIMIT);
      expect((await login('web')).status).toBe(CREATED);
      expect((await login('windows')).status).toBe(SESSION_LIMIT);
    });

    test.each(['classes', 'refuse_class'])(
      '40 logins at once under %s leave as many as both limits let',
      async (name) => {
        const userId = randomNamespace();
        const platforms = ['ios', 'web', 'windows', 'toaster'];
        const replies = await Promise.all(
          Array.from({ length: 40 }, (_, index) =>
            create({ userId, profile: name, metadata: on(platforms[index % platforms.length] ?? '') }),
          ),
        );
        const { sessions, totalCount } = await listed(userId);
        expect(totalCount).toBe(4);
        const count = (wanted: DeviceClass): number =>
          sessions.filter(({ deviceClass }) => deviceClass === wanted).length;
        expect(count(DeviceClass.MOBILE)).toBeLessThanOrEqual(1);
        expect(count(DeviceClass.WEB)).toBeLessThanOrEqual(2);
        expect(count(DeviceClass.UNSPECIFIED)).toBeLessThanOrEqual(2);
        const made = replies.filter(({ status }) => status === CREATED);
        expect(made).toHaveLength(name === 'classes' ? 40 : 4);
        const evicted = replies.flatMap(({ evictedSessionIds }) => evictedSessionIds);
        expect(new Set(evicted).size).toBe(made.length - 4);
      },
    );

    test('where a limit was lowered, a login ends 200 sessions at most, and the next ones the rest', async () => {
      const userId = randomNamespace();
      await Promise.all(Array.from({ length: 260 }, () => created({ userId })));
      const evicted = [];
      for (let count = 0; count < 3; count++) {
        evicted.push((await created({ userId, profile: 'two' })).reply.evictedSessionIds.length);
      }
      expect(evicted).toEqual([200, 60, 1]);
      expect((await listed(userId)).totalCount).toBe(2);
    });
  },
  { POLICIES_FILE },
);
