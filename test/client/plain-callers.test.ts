import { beforeAll, describe, expect, test } from '@jest/globals';
import { InvalidArgumentError, type ShardkeepClient } from '../../src/client/index.js';
import { sdkClient } from '../support/sdk-client.js';
import { randomNamespace, sharedRedisUrl, startTestService, type TestService } from '../support/service.js';

/** Calls that no compiler lets through: each is refused by name, and changes nothing. */

let service: TestService;
beforeAll(async () => {
  service = await startTestService({ url: sharedRedisUrl('standalone') });
});

const ID = 'a'.repeat(22);
const exactly = { name: 'x', algorithm: 'sliding_exact', limit: 5, windowMs: 60_000 };
const limit = { subject: 'user:ada', policy: exactly };
const character = { userId: 'ada', characterId: 'knight' };

type Call = (client: ShardkeepClient) => unknown;
/** A call whose arguments are what callers without a compiler give. */
function plain<Area extends 'sessions' | 'rateLimits'>(area: Area, method: keyof ShardkeepClient[Area]) {
  return (...args: unknown[]): Call =>
    (client) =>
      (client[area][method] as (...given: unknown[]) => unknown)(...args);
}
const session = (method: keyof ShardkeepClient['sessions'], ...args: unknown[]): Call =>
  plain('sessions', method)(...args);
const limits = (method: keyof ShardkeepClient['rateLimits'], ...args: unknown[]): Call =>
  plain('rateLimits', method)(...args);

const wrong: [string, Call, string[]][] = [
  ['a login of nothing', session('createSession', null), ['login']],
  ['no login', session('createSession'), ['login']],
  ['a user that is a number', session('createSession', { userId: 5 }), ['userId']],
  ['a role for a list', session('createSession', { userId: 'u', roles: 'admin' }), ['roles']],
  ['roles that are none', session('createSession', { userId: 'u', roles: [{}, 'x', 1] }), ['roles[0]', 'roles[2]']],
  ['metadata of objects', session('createSession', { userId: 'u', metadata: { a: {} } }), ['metadata[a]']],
  ['metadata as a list', session('createSession', { userId: 'u', metadata: ['x'] }), ['metadata']],
  ['an address that is none', session('createSession', { userId: 'u', client: '::1' }), ['client']],
  ['an address of numbers', session('validateSession', 'x'.repeat(43), { client: { ip: 7 } }), ['client.ip']],
  ['a token that is no text', session('validateSession', 5), ['sessionToken']],
  ['an id that is no text', session('getSession', {}), ['sessionId']],
  ['changes of nothing', session('updateSession', ID, null), ['changes']],
  ['changes that nobody knows', session('updateSession', ID, { role: ['x'], toString: '' }), ['role', 'toString']],
  ['changes to null', session('updateSession', ID, { roles: null }), ['roles']],
  ['a guard without a token', session('updateSession', ID, {}, { guard: { resource: 'x' } }), ['guard.fencingToken']],
  ['half a version', session('updateSession', ID, {}, { expectedVersion: 0.5 }), ['expectedVersion']],
  ['an increment in words', session('updateSession', ID, { incrementMetadata: { a: '5' } }), ['incrementMetadata']],
  ['an extension without options', session('extendSession', ID, null), ['options']],
  ['an extension in words', session('extendSession', ID, { ttlMs: '1h' }), ['ttlMs']],
  ['a policy in capitals', session('claimCharacter', { ...character, sessionId: ID, policy: 'TAKEOVER' }), ['policy']],
  ['a policy of Object', session('claimCharacter', { ...character, sessionId: ID, policy: 'toString' }), ['policy']],
  ['a claim without an epoch', session('releaseCharacter', character), ['epoch']],
  ['a character that is none', session('getCharacterClaim', 'knight'), ['character']],
  ['a watch of a text', session('watchSessions', { userIds: 'ada' }), ['userIds']],
  ['a watch of nothing', session('watchSessions', undefined), ['selection']],
  ['a subject alone', limits('checkRateLimit', 'user:ada'), ['limits[0]']],
  ['no subject', limits('check', undefined, 'chat'), ['limits[0].subject']],
  ['no policy', limits('check', 'user:ada'), ['limits[0].policy']],
  ['a subject that is a number', limits('check', 5, 'chat'), ['limits[0].subject']],
  ['subjects that are numbers', limits('check', { user: 5 }, 'chat'), ['limits[0].subjects.byKind[user]']],
  [
    'an algorithm that nobody knows',
    limits('check', 'user:ada', { ...exactly, algorithm: 'constructor' }),
    ['limits[0].inlinePolicy.algorithm'],
  ],
  ['half a cost', limits('checkRateLimit', limit, { cost: 0.5 }), ['cost']],
  ['a cost of none', limits('holdConcurrency', limit, { cost: NaN }), ['cost']],
  ['a wish in words', limits('checkRateLimit', limit, { wantHeaders: 'yes' }), ['wantHeaders']],
  ['no signal', limits('checkRateLimit', limit, { signal: {} }), ['signal']],
  ['no signal for a hold', limits('holdConcurrency', limit, { signal: 'now' }), ['signal']],
  ['no signal for a watch', session('watchSessions', { all: true }, { signal: 7 }), ['signal']],
  ['a position that is none', session('watchSessions', { all: true, cursor: 5 }), ['cursor']],
  ['a check of many', limits('checkManyRateLimits', [{ limits: limit }, { limits: [null] }]), ['checks[1].limits[0]']],
  ['a check for checks', limits('checkManyRateLimits', { limits: limit }), ['checks']],
  ['checks of nothing', limits('checkManyRateLimits', [null]), ['checks[0]']],
  ['a ban without an end', limits('ban', 'user:ada'), ['ttlMs']],
  ['an override without terms', limits('overrideRateLimit', 'user:ada', 'chat'), ['options']],
  ['a page in words', limits('listBans', { pageSize: 'all' }), ['pageSize']],
];

describe('what is refused', () => {
  test.each(wrong)('%s', async (_, call, fields) => {
    const error = await failureOf(() => call(sdkClient(service.address)));
    expect(error).toBeInstanceOf(InvalidArgumentError);
    expect(error).toMatchObject({ reason: 'INVALID_FIELD', fields });
  });

  test('nothing of it is charged or written', async () => {
    const client = sdkClient(service.address);
    const userId = randomNamespace();
    await failureOf(() => session('createSession', { userId, roles: 'admin' })(client));
    expect(await client.sessions.listUserSessions(userId)).toMatchObject({ totalCount: 0 });
    const subject = `user:${userId}`;
    const policy = { ...exactly, algorithm: 'sliding_exact' } as const;
    await failureOf(() => limits('checkRateLimit', { subject, policy }, { cost: 1, wantHeaders: 1 })(client));
    expect(await client.rateLimits.peekRateLimit({ subject, policy })).toMatchObject({ remaining: 5 });
  });
});

/** Of a call however it fails: at once, later, or when it is read. */
async function failureOf(call: () => unknown): Promise<unknown> {
  try {
    const answer = await call();
    if (typeof answer === 'object' && answer !== null && Symbol.asyncIterator in answer) {
      await (answer as AsyncIterable<unknown>)[Symbol.asyncIterator]().next();
    }
  } catch (error) {
    return error;
  }
  return undefined;
}
