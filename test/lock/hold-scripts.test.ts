import { expect, test } from '@jest/globals';
import { detachLockScript, renewLockScript } from '../../src/lock/hold/scripts.js';
import { replyCode } from '../../src/redis/errors.js';
import { keys } from '../../src/redis/keys.js';
import { UnexpectedReplyError, type AnyLuaScript } from '../../src/redis/lua-script.js';
import { commandOn } from '../support/redis-server.js';
import { randomNamespace, sharedRedisUrl } from '../support/service.js';

/** What the scripts of HoldLocks refuse, and what their wrappers do. */

const TOKEN = 'abcdefghijklmnopqrstuvwxyz-_0189';
const WRONG_TOKENS = ['', TOKEN.slice(1), `${TOKEN}a`, TOKEN.replace('a', '+'), TOKEN.replace('a', '\0')];
const NO_NUMBERS = ['', '-1', '1.5', '1e3', '0x10', 'nan', ' 7', '9'.repeat(400)];
const WRONG_NUMBERS = [...NO_NUMBERS, '0'];

type Case = readonly [AnyLuaScript, readonly string[], Readonly<Record<string, readonly string[]>>];
const SCRIPT_ARGUMENTS: readonly Case[] = [
  [
    renewLockScript,
    [TOKEN, 'stream', '1000', '1000'],
    {
      lockToken: WRONG_TOKENS,
      stream: [''],
      ttlMs: [...WRONG_NUMBERS, '3600001'],
      fenceRetentionMs: [...WRONG_NUMBERS, '31536000001'],
    },
  ],
  [
    detachLockScript,
    [TOKEN, 'stream', '0', '1000', '1000'],
    {
      lockToken: WRONG_TOKENS,
      stream: [''],
      isClean: [...NO_NUMBERS, '2'],
      graceMs: [...NO_NUMBERS, '60001'],
      fenceRetentionMs: [...WRONG_NUMBERS, '31536000001'],
    },
  ],
];

test.each(SCRIPT_ARGUMENTS.map((each) => [each[0].name, ...each] as const))(
  '%s refuses each wrong argument, and makes nothing of a lock that is not there',
  async (_, script, right, wrong) => {
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
    await expect(evaluate(right)).resolves.toBeDefined();
    expect(await commandOn(port, ['EXISTS', lock])).toBe(0);
  },
);

test.each([
  ['an unknown status of renew', renewLockScript, ['MAYBE']],
  ['a renewal with a field too many', renewLockScript, ['DONE', '1']],
  ['a lost lock without its fence', renewLockScript, ['NOT_HOLDER']],
  ['an unknown status of detach', detachLockScript, ['NOT_HOLDER']],
  ['a detachment with a field too many', detachLockScript, ['DONE', '1']],
] as const)('%s is no reply', (_, script: AnyLuaScript, fields: readonly string[]) => {
  expect(() => script.parse(fields.map((field) => Buffer.from(field)))).toThrow(UnexpectedReplyError);
});
