import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  RotateSessionStatus,
  SessionClientField,
  ValidateSessionStatus,
  type Session,
  type SessionClient,
} from '../../src/gen/shardkeep/session/v1/session.js';
import { agentOf, networkOf } from '../../src/session/client-binding.js';
import { rawRedis, type RawRedis } from '../support/raw-redis.js';
import { until } from '../support/redis-server.js';
import { onEachTopology, policiesFile, randomNamespace } from '../support/service.js';
import { failureOf } from '../support/client.js';
import { recordOf } from './raw-sessions.js';

const profile = { idle_ttl_ms: 3_600_000, absolute_ttl_ms: 0, max_sessions: 0, at_limit: 'evict_oldest' };
/** Decided by a plain read, and by the script. */
const TOUCHES = { coarse: 180_000, fine: 0 };
const BINDINGS = {
  shipped: undefined,
  mixed: { ip: 'signal', user_agent: 'ignore', device_id: 'reject' },
  strict: { ip: 'reject', user_agent: 'reject', device_id: 'reject' },
  deaf: { ip: 'ignore', user_agent: 'ignore', device_id: 'ignore' },
};
const POLICIES_FILE = policiesFile({
  rpc_limits: [],
  session_profiles: Object.fromEntries(
    Object.entries(BINDINGS).flatMap(([name, binding]) =>
      Object.entries(TOUCHES).map(([touch, granularity]) => [
        `${name}_${touch}`,
        { ...profile, touch_granularity_ms: granularity, ...(binding && { binding }) },
      ]),
    ),
  ),
});

const { IP, USER_AGENT, DEVICE_ID } = SessionClientField;
const { VALID, BINDING, STEP_UP } = ValidateSessionStatus;

const CHROME =
  'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36';
const NEWER_CHROME = CHROME.replace('120.0.0.0', '131.0.6778.86').replace('NT 10.0', 'NT 11.0');
const FIREFOX = 'Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:109.0) Gecko/20100101 Firefox/121.0';

const home = { ip: '203.0.113.9', userAgent: CHROME, deviceId: 'device-1' };
const away = { ip: '198.51.100.9', userAgent: FIREFOX, deviceId: 'device-2' };

describe('what is compared of an address', () => {
  test.each([
    ['203.0.113.9', '203.0.113'],
    ['203.0.113.255', '203.0.113'],
    ['::ffff:203.0.113.9', '203.0.113'],
    ['::FFFF:cb00:7109', '203.0.113'],
    ['0:0:0:0:0:ffff:203.0.113.200', '203.0.113'],
    ['2001:db8:85a3::8a2e:370:7334', '2001:db8:85a3'],
    ['2001:0DB8:85A3:ffff:1:2:3:4', '2001:db8:85a3'],
    ['2001:db8::1', '2001:db8:0'],
    ['fe80::1%eth0', 'fe80:0:0'],
    ['::', '0:0:0'],
    ['::1', '0:0:0'],
    ['1::', '1:0:0'],
    // IPv4-translated is no IPv4-mapped
    ['::ffff:0:203.0.113.9', '0:0:0'],
    ...[
      '',
      '203.0.113',
      '203.0.113.9:443',
      '203.0.113.09',
      '256.1.1.1',
      ' 203.0.113.9',
      'localhost',
      '2001:db8',
      '1::2::3',
    ].map((text) => [text, ''] as const),
  ])('of %j: %j', (ip, network) => {
    expect(networkOf(ip)).toBe(network);
  });

  test('is the same however an IPv6 address is written', () => {
    const group = fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 0xffff }));
    fc.assert(
      fc.property(fc.array(group, { minLength: 8, maxLength: 8 }), (groups) => {
        const long = groups.map((each) => each.toString(16).padStart(4, '0')).join(':');
        // as the URL standard writes it: the longest row of zeros left out
        const short = new URL(`http://[${long}]`).hostname.slice(1, -1);
        expect(networkOf(short)).toBe(networkOf(long.toUpperCase()));
        const [one = 0, two = 0, three = 0] = groups;
        if (one !== 0) expect(networkOf(short)).toBe([one, two, three].map((each) => each.toString(16)).join(':'));
      }),
    );
  });
});

test.each([
  [CHROME, NEWER_CHROME, true],
  [CHROME, FIREFOX, false],
  [
    'Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X)',
    'Mozilla/5.0 (iPhone; CPU iPhone OS 18_0_1 like Mac OS X)',
    true,
  ],
  ['UnrealEngine/5.3.2-29314046+++UE5 Android/14', 'UnrealEngine/5.4.0-33043543+++UE5 Android/15', true],
  ['Dalvik/2.1.0 (Linux; U; Android 14)', 'Dalvik/2.1.0 (Linux; U; Fuchsia 14)', false],
])('the user agents %j and %j are taken for one: %p', (one, other, same) => {
  expect(agentOf(one) === agentOf(other)).toBe(same);
});

onEachTopology(
  'the binding of a session to a client',
  (service, topology) => {
    let redis: RawRedis;
    beforeAll(async () => {
      redis = await rawRedis(topology);
    });
    afterAll(async () => {
      await redis.close();
    });

    async function create(name: string, client: Partial<SessionClient>): Promise<{ session: Session; token: string }> {
      const metadata = new Map([
        ['ip', client.ip ?? ''],
        ['user_agent', client.userAgent ?? ''],
        ['device_id', client.deviceId ?? ''],
      ]);
      const request = { userId: randomNamespace(), profile: name, metadata };
      const reply = await service().sessions.createSession(request);
      if (reply.session === undefined) throw new Error('not created');
      return { session: reply.session, token: reply.sessionToken };
    }

    const validate = (sessionToken: string, client?: SessionClient) =>
      service().sessions.validateSession({ sessionToken, client });

    describe.each(Object.keys(TOUCHES))('under a %s touch granularity', (touch) => {
      test('what changed is told, as the profile says, and nothing else', async () => {
        const { token } = await create(`mixed_${touch}`, home);
        const changedBy = async (
          change: Partial<SessionClient>,
        ): Promise<[ValidateSessionStatus, SessionClientField[]]> => {
          const reply = await validate(token, { ...home, ...change });
          expect(reply.session === undefined).toBe(reply.status === BINDING);
          return [reply.status, reply.changedClientFields];
        };
        expect(await changedBy({})).toEqual([VALID, []]);
        expect(await changedBy({ ip: '203.0.113.77' })).toEqual([VALID, []]);
        expect(await changedBy({ ip: '::ffff:203.0.113.77' })).toEqual([VALID, []]);
        expect(await changedBy({ ip: away.ip })).toEqual([VALID, [IP]]);
        expect(await changedBy({ userAgent: FIREFOX })).toEqual([VALID, []]);
        expect(await changedBy({ deviceId: away.deviceId })).toEqual([BINDING, [DEVICE_ID]]);
        expect(await changedBy(away)).toEqual([BINDING, [IP, DEVICE_ID]]);
        expect(await changedBy({ ip: away.ip, deviceId: '' })).toEqual([VALID, [IP]]);
        expect(await changedBy({ ip: '' })).toEqual([VALID, []]);
        expect(await validate(token)).toMatchObject({ status: VALID, changedClientFields: [] });
      });

      test('a profile that does not say signals, and one that is deaf tells nothing', async () => {
        const shipped = await create(`shipped_${touch}`, home);
        const reply = await validate(shipped.token, away);
        expect(reply).toMatchObject({ status: VALID, changedClientFields: [IP, USER_AGENT, DEVICE_ID] });
        expect(await validate(shipped.token, { ...home, userAgent: NEWER_CHROME })).toMatchObject({
          status: VALID,
          changedClientFields: [],
        });
        const deaf = await create(`deaf_${touch}`, home);
        expect(await validate(deaf.token, away)).toMatchObject({ status: VALID, changedClientFields: [] });
      });

      test('what was not known at creation is not compared', async () => {
        const { token } = await create(`strict_${touch}`, { userAgent: CHROME, ip: 'unknown' });
        expect(await validate(token, { ...away, userAgent: NEWER_CHROME })).toMatchObject({
          status: VALID,
          changedClientFields: [],
        });
        expect(await validate(token, away)).toMatchObject({ status: BINDING, changedClientFields: [USER_AGENT] });
      });

      test('an agent of nothing but versions is another one than what was known, and what is no address is refused', async () => {
        const { sessions } = service();
        const { token } = await create(`strict_${touch}`, home);
        for (const ip of ['nonsense', '203.0.113.9:443', '203.0.113']) {
          const client = { ...home, ip };
          for (const call of [
            () => sessions.validateSession({ sessionToken: token, client }),
            () => sessions.rotateSession({ sessionToken: token, client, reauthenticated: true }),
          ]) {
            expect(await failureOf(call())).toMatchObject({ code: Code.INVALID_ARGUMENT, fields: ['client.ip'] });
          }
        }
        for (const userAgent of ['1.0', '/5.0', '42']) {
          const refused = { status: BINDING, changedClientFields: [USER_AGENT] };
          expect(await validate(token, { ...home, userAgent })).toMatchObject(refused);
        }
        const client = { ...home, userAgent: '1.0' };
        expect(await sessions.rotateSession({ sessionToken: token, client })).toMatchObject({
          status: RotateSessionStatus.BINDING,
          changedClientFields: [USER_AGENT],
        });
        // a proof binds to what can be compared
        const bound = await sessions.rotateSession({ sessionToken: token, client, reauthenticated: true });
        expect(bound.status).toBe(RotateSessionStatus.ROTATED);
        const { sessionToken } = bound;
        expect((await validate(sessionToken, { ...home, userAgent: '2.0' })).status).toBe(VALID);
        expect(await validate(sessionToken, home)).toMatchObject({
          status: BINDING,
          changedClientFields: [USER_AGENT],
        });
      });

      test('who is refused touches nothing, and the holder goes on', async () => {
        const { session, token } = await create(`strict_${touch}`, home);
        const before = await recordOf(redis, service().namespace, session);
        for (let count = 0; count < 5; count++) expect((await validate(token, away)).status).toBe(BINDING);
        const rotation = await service().sessions.rotateSession({ sessionToken: token, client: away });
        expect(rotation).toMatchObject({
          ...{ status: RotateSessionStatus.BINDING, session: undefined, sessionToken: '' },
          changedClientFields: [IP, USER_AGENT, DEVICE_ID],
        });
        expect(await recordOf(redis, service().namespace, session)).toEqual(before);
        expect((await validate(token, home)).status).toBe(VALID);
      });

      test('STEP_UP tells what changed as well, BINDING goes before it', async () => {
        const { token } = await create(`mixed_${touch}`, home);
        // older than its second of doubt by now or soon
        const ask = (client: SessionClient) =>
          service().sessions.validateSession({ sessionToken: token, client, maxAuthAgeMs: 0n });
        await until(async () => (await ask({ ...home, ip: away.ip })).status === STEP_UP);
        expect((await ask({ ...home, ip: away.ip })).changedClientFields).toEqual([IP]);
        expect((await ask(away)).status).toBe(BINDING);
      });

      test('a proof of who the user is binds the session to the client who gave it', async () => {
        const { sessions } = service();
        const { token } = await create(`strict_${touch}`, home);
        const moved = await sessions.rotateSession({ sessionToken: token, reauthenticated: true, client: away });
        expect(moved).toMatchObject({ status: RotateSessionStatus.ROTATED, changedClientFields: [] });
        expect((await validate(moved.sessionToken, away)).status).toBe(VALID);
        expect(await validate(moved.sessionToken, home)).toMatchObject({
          status: BINDING,
          changedClientFields: [IP, USER_AGENT, DEVICE_ID],
        });

        // by the token before, within the grace
        const onlyIp = { ip: home.ip, userAgent: '', deviceId: '' };
        const again = await sessions.rotateSession({ sessionToken: token, reauthenticated: true, client: onlyIp });
        expect(again.sessionToken).toBe(moved.sessionToken);
        expect(await validate(moved.sessionToken, away)).toMatchObject({ status: BINDING, changedClientFields: [IP] });
        // what it does not say stays as it was
        expect((await validate(moved.sessionToken, { ...away, ip: home.ip })).status).toBe(VALID);
        expect((await validate(moved.sessionToken, home)).changedClientFields).toEqual([USER_AGENT, DEVICE_ID]);

        const kept = await sessions.rotateSession({ sessionToken: moved.sessionToken, reauthenticated: true });
        expect(await validate(kept.sessionToken, away)).toMatchObject({ status: BINDING, changedClientFields: [IP] });
      });

      test('a rotation without a proof leaves the binding, and tells what changed', async () => {
        const { sessions } = service();
        const { token } = await create(`mixed_${touch}`, home);
        const client = { ...home, ip: away.ip };
        const reply = await sessions.rotateSession({ sessionToken: token, client });
        expect(reply).toMatchObject({ status: RotateSessionStatus.ROTATED, changedClientFields: [IP] });
        expect((await validate(reply.sessionToken, client)).changedClientFields).toEqual([IP]);
        // the token before it is looked at in the same way
        expect((await validate(token, { ...home, deviceId: away.deviceId })).status).toBe(BINDING);
      });
    });
  },
  { POLICIES_FILE },
);
