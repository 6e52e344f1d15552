import { status as Code } from '@grpc/grpc-js';
import { expect, test } from '@jest/globals';
import { AcquireLockStatus } from '../../src/gen/shardkeep/lock/v1/lock.js';
import {
  acquireLockScript,
  cancelWaitScript,
  claimLockScript,
  extendLockScript,
  getLockScript,
  giveBackLockScript,
  releaseLockScript,
} from '../../src/lock/scripts.js';
import { keys } from '../../src/redis/keys.js';
import { UnexpectedReplyError, type AnyLuaScript } from '../../src/redis/lua-script.js';
import { replyCode } from '../../src/redis/errors.js';
import { failureOf } from '../support/client.js';
import { commandOn } from '../support/redis-server.js';
import { onEachTopology, randomNamespace, sharedRedisUrl } from '../support/service.js';

const TOKEN = 'abcdefghijklmnopqrstuvwxyz-_0189';

const WRONG_RESOURCES = [
  { resources: [], field: 'resources' },
  { resources: ['a', 'b', 'a'], field: 'resources' },
  { resources: Array.from({ length: 17 }, (_, index) => String(index)), field: 'resources' },
  { resources: [''], field: 'resources[0]' },
  { resources: ['ä'.repeat(257)], field: 'resources[0]' },
  { resources: ['nul\0'], field: 'resources[0]' },
  { resources: ['\uFFFD'], field: 'resources[0]' },
];
const WRONG_TTLS = [0n, -1n, 3_600_001n, 2n ** 63n - 1n];
const WRONG_TOKENS = ['', 'short', `${TOKEN}x`, `${TOKEN.slice(1)}+`, `${TOKEN.slice(2)}ä`, `${TOKEN.slice(1)}\n`];
const WRONG_REQUEST_IDS = ['x'.repeat(15), 'x'.repeat(129), `${'x'.repeat(20)}\0`];

onEachTopology('wrong requests to LockService', (service) => {
  const wrongFieldsOf = async (call: Promise<unknown>): Promise<readonly string[]> => {
    const { code, reason, fields } = await failureOf(call);
    expect({ code, reason }).toEqual({ code: Code.INVALID_ARGUMENT, reason: 'INVALID_FIELD' });
    return fields;
  };

  test('resources: 1 to 16, none twice, of 1 to 512 bytes of clean UTF-8', async () => {
    const { locks } = service();
    for (const { resources, field } of WRONG_RESOURCES) {
      expect(await wrongFieldsOf(locks.acquireLock({ resources }))).toEqual([field]);
      expect(await wrongFieldsOf(locks.releaseLock({ resources, lockToken: TOKEN }))).toEqual([field]);
      expect(await wrongFieldsOf(locks.extendLock({ resources, lockToken: TOKEN }))).toEqual([field]);
    }
  });

  test('resource: 1 to 512 bytes of clean UTF-8', async () => {
    for (const resource of ['', 'ä'.repeat(257), 'nul\0', '\uFFFD']) {
      expect(await wrongFieldsOf(service().locks.getLock({ resource }))).toEqual(['resource']);
    }
  });

  test('ttl_ms: 1 to 3,600,000', async () => {
    const { locks } = service();
    for (const ttlMs of WRONG_TTLS) {
      expect(await wrongFieldsOf(locks.acquireLock({ resources: ['ttl'], ttlMs }))).toEqual(['ttl_ms']);
      expect(await wrongFieldsOf(locks.extendLock({ resources: ['ttl'], lockToken: TOKEN, ttlMs }))).toEqual([
        'ttl_ms',
      ]);
    }
    expect((await locks.acquireLock({ resources: ['ttl'], ttlMs: 3_600_000n })).status).toBe(AcquireLockStatus.GRANTED);
  });

  test('lock_token: 32 characters of base64url', async () => {
    const { locks } = service();
    for (const lockToken of WRONG_TOKENS) {
      expect(await wrongFieldsOf(locks.releaseLock({ resources: ['token'], lockToken }))).toEqual(['lock_token']);
      expect(await wrongFieldsOf(locks.extendLock({ resources: ['token'], lockToken }))).toEqual(['lock_token']);
    }
  });

  test('owner: up to 128 bytes; request_id: none, or 16 to 128 bytes', async () => {
    const { locks } = service();
    expect(await wrongFieldsOf(locks.acquireLock({ resources: ['who'], owner: 'x'.repeat(129) }))).toEqual(['owner']);
    for (const requestId of WRONG_REQUEST_IDS) {
      expect(await wrongFieldsOf(locks.acquireLock({ resources: ['who'], requestId }))).toEqual(['request_id']);
    }
    const longest = { owner: 'ä'.repeat(64), requestId: 'ü'.repeat(64) };
    expect((await locks.acquireLock({ resources: ['who'], ...longest })).status).toBe(AcquireLockStatus.GRANTED);
  });

  test('every wrong field is named at once, and nothing is locked', async () => {
    const { locks } = service();
    const wrong = { resources: [''], ttlMs: 0n, owner: 'x'.repeat(129), requestId: 'short' };
    expect(await wrongFieldsOf(locks.acquireLock(wrong))).toEqual(['resources[0]', 'ttl_ms', 'owner', 'request_id']);
    expect(await wrongFieldsOf(locks.acquireLock({ resources: ['untouched'], ttlMs: 0n }))).toEqual(['ttl_ms']);
    expect((await locks.getLock({ resource: 'untouched' })).fencingToken).toBe(0n);
  });
});

const NO_NUMBERS = ['', '-1', '1.5', '1e3', '0x10', 'nan', ' 7', '9'.repeat(400)];
const WRONG_NUMBERS = ['0', ...NO_NUMBERS];
const SCRIPT_ARGUMENTS: readonly (readonly [
  AnyLuaScript,
  readonly string[],
  Readonly<Record<string, readonly string[]>>,
])[] = [
  [
    acquireLockScript,
    [TOKEN, '1000', 'owner', '1', '1', '0', '0', '1', 'channel', 'call', '', '0', '0', '1000'],
    {
      lockToken: WRONG_TOKENS,
      ttlMs: WRONG_NUMBERS,
      owner: ['x'.repeat(129)],
      permits: [...NO_NUMBERS, '2', '1000001'],
      capacity: [...WRONG_NUMBERS, '1000001'],
      reentrant: [...NO_NUMBERS, '2'],
      hasRequest: [...NO_NUMBERS, '2'],
      waitMs: [...NO_NUMBERS, '60001'],
      channel: [''],
      call: [],
      stream: [],
      delayMs: [...NO_NUMBERS, '60001'],
      takesOver: [...NO_NUMBERS, '3'],
      fenceRetentionMs: WRONG_NUMBERS,
    },
  ],
  [
    claimLockScript,
    [TOKEN, '0', '1000', '1000'],
    {
      lockToken: WRONG_TOKENS,
      ticket: NO_NUMBERS,
      ttlMs: WRONG_NUMBERS,
      fenceRetentionMs: WRONG_NUMBERS,
    },
  ],
  [
    cancelWaitScript,
    [TOKEN, '0', 'call', '1000'],
    { lockToken: WRONG_TOKENS, ticket: NO_NUMBERS, call: [], fenceRetentionMs: WRONG_NUMBERS },
  ],
  [releaseLockScript, [TOKEN, '1000'], { lockToken: WRONG_TOKENS, fenceRetentionMs: WRONG_NUMBERS }],
  [giveBackLockScript, [TOKEN, '1000'], { lockToken: WRONG_TOKENS, fenceRetentionMs: WRONG_NUMBERS }],
  [
    extendLockScript,
    [TOKEN, '1000', '1000'],
    { lockToken: WRONG_TOKENS, ttlMs: WRONG_NUMBERS, fenceRetentionMs: WRONG_NUMBERS },
  ],
];

test.each(SCRIPT_ARGUMENTS)(
  'script $name refuses each wrong argument before it writes',
  async (script, right, wrong) => {
    const port = Number(new URL(sharedRedisUrl('standalone')).port);
    const lock = keys.lock(randomNamespace(), 'arguments');
    const evaluate = (args: readonly string[]): Promise<unknown> =>
      commandOn(port, ['EVAL', script.source, '1', lock, ...args]);
    expect(Object.keys(wrong)).toEqual(script.argNames);
    for (const [position, values] of Object.values(wrong).entries()) {
      for (const value of values) {
        const failure = await evaluate(right.with(position, value)).then(() => undefined, replyCode);
        expect([script.argNames[position], value, failure]).toEqual([script.argNames[position], value, 'BADARG']);
      }
    }
    expect(await commandOn(port, ['EXISTS', lock])).toBe(0);
    await expect(evaluate(right)).resolves.toBeDefined();
    await commandOn(port, ['DEL', lock]);
  },
);

test.each([
  ['an unknown status of acquire', acquireLockScript, ['MAYBE']],
  ['a grant without its end', acquireLockScript, ['GRANTED', '1']],
  ['a grant with two fields too many', acquireLockScript, ['GRANTED', '1', '1', '1', '1', '1']],
  ['a refusal without the delay', acquireLockScript, ['QUEUED', '1']],
  ['half a holder', acquireLockScript, ['HELD', '1', '1', 'owner', '1']],
  ['an unknown status of claim', claimLockScript, ['HELD']],
  ['a wait without its next change', claimLockScript, ['WAITING']],
  ['an unknown status of cancel', cancelWaitScript, ['GRANTED', '1', '1']],
  ['an unknown status of release', releaseLockScript, ['GONE']],
  ['a release without its time', releaseLockScript, ['DONE']],
  ['an extension without its end', extendLockScript, ['DONE']],
  ['a fence that is no number', getLockScript, ['']],
  ['a list that is short of a holder', getLockScript, ['1', '0', '1', '0', '1']],
] as const)('%s is no reply', (_, script: AnyLuaScript, fields: readonly string[]) => {
  expect(() => script.parse(fields.map((field) => Buffer.from(field)))).toThrow(UnexpectedReplyError);
});
