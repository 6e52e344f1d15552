import { readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { readScript, SEVERAL_CALLS, type AnyLuaScript } from '../../src/redis/lua-script.js';
import { headerProblems, READING_COMMANDS } from '../support/lua-header.js';
import { commandOn } from '../support/redis-server.js';
import { sharedRedisUrl } from '../support/service.js';

const SRC = fileURLToPath(new URL('../../src', import.meta.url));

function filesUnder(folder: string, ending: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith(ending))
    .map((file) => join(folder, file))
    .sort();
}

function isScript(value: unknown): value is AnyLuaScript {
  return typeof value === 'object' && value !== null && 'keyNames' in value && 'sha1' in value;
}

/** Scripts that a module exports one by one, and those in the lists it exports for loading. */
interface Wrappers {
  readonly file: string;
  readonly single: readonly AnyLuaScript[];
  readonly listed: readonly AnyLuaScript[];
}

async function wrappersOf(file: string): Promise<Wrappers> {
  const exported = Object.values((await import(file)) as Record<string, unknown>);
  return {
    file: relative(SRC, file),
    single: exported.filter(isScript),
    listed: exported.flatMap((value) => (Array.isArray(value) ? value.filter(isScript) : [])),
  };
}

const modules = await Promise.all(
  [...filesUnder(SRC, 'scripts.ts'), join(SRC, 'redis/format.ts'), join(SRC, 'redis/permissions.ts')].map((file) =>
    wrappersOf(file),
  ),
);
const scripts = modules.flatMap(({ single }) => single);
const named = scripts.map((script) => ({ path: relative(SRC, script.path), script }));

describe('the header of', () => {
  test.each(named)('$path agrees with its body and its wrapper', ({ script }) => {
    expect(headerProblems(script.source, { keys: script.keyNames, args: script.argNames })).toEqual([]);
  });

  test.each(named)('$path is named as its file and its wrapper', ({ script }) => {
    expect(/^ {2}([a-z-]+): /m.exec(script.source)?.[1]).toBe(basename(script.path, '.lua'));
    expect(script.name).toBe(basename(script.path, '.lua'));
  });

  test.each(named)('$path tells the wrapper whether the script writes', ({ script }) => {
    expect(script.readOnly).toBe(/^#!lua .*no-writes/.test(readFileSync(script.path, 'utf8')));
  });
});

test('every Lua file is a script with a wrapper or included by one', () => {
  const included = new Set<string>();
  const follow = (file: string): void => {
    for (const [, target = ''] of readFileSync(file, 'utf8').matchAll(/^--- @include "([^"]+)"$/gm)) {
      const path = resolve(dirname(file), target);
      if (included.has(path)) continue;
      included.add(path);
      follow(path);
    }
  };
  for (const { path } of scripts) follow(path);
  const known = new Set([...scripts.map(({ path }) => path), ...included, SEVERAL_CALLS]);
  expect(filesUnder(SRC, '.lua').filter((file) => !known.has(file))).toEqual([]);
});

test('every script is in the list its module gives to be loaded', () => {
  const lists = modules.filter(({ file }) => file.endsWith('scripts.ts'));
  const missing = lists.flatMap(({ single, listed }) => single.filter((script) => !listed.includes(script)));
  expect(missing.map(({ name }) => name)).toEqual([]);
});

test('what runs several calls of a script is its own text, the body in a function, and the loop that calls it', () => {
  const batched = scripts.filter(({ batch }) => batch !== undefined);
  expect(batched.length).toBeGreaterThan(0);
  const loop = readFileSync(SEVERAL_CALLS, 'utf8');
  for (const { source, batch, readOnly } of batched) {
    const [before = '', rest = ''] = batch?.source.split('local function run_call(KEYS, ARGV)\n') ?? [];
    expect(rest.endsWith(`end\n${loop}`)).toBe(true);
    expect(before + rest.slice(0, -`end\n${loop}`.length)).toBe(source);
    // what runs once for all calls knows nothing of any of them
    expect(before.replace(/--\[\[[\s\S]*?\]\]|--[^\n]*/g, '')).not.toMatch(/\b(KEYS|ARGV)\b/);
    expect(batch?.readOnly).toBe(readOnly);
  }
});

test('an include is expanded once, however often it is named', () => {
  const set = scripts.find(({ path }) => path.endsWith('cache/lua/set.lua'));
  expect(readScript(set?.path ?? '').match(/^local ENTRY_FORMAT/gm)).toHaveLength(1);
});

test('no command that a read-only script may call writes, by Redis itself', async () => {
  const port = Number(new URL(sharedRedisUrl('standalone')).port);
  const writing = await commandOn(port, ['COMMAND', 'LIST', 'FILTERBY', 'ACLCAT', 'write']);
  expect([...READING_COMMANDS].filter((command) => String(writing).split(',').includes(command.toLowerCase()))).toEqual(
    [],
  );
});

describe('a header is found out that', () => {
  const source = readScript(join(SRC, 'cache/lua/set.lua'));
  const reading = readFileSync(join(SRC, 'cache/lua/get-ttl.lua'), 'utf8');
  const wrapper = {
    keys: ['entry'],
    args: ['value', 'ttlMs', 'condition', 'version', 'freshMs', 'tags', 'guard'],
  };

  const lies: readonly [string, string, { keys: readonly string[]; args: readonly string[] }?][] = [
    ['has no #!lua', source.replace(/^#!lua\n/, '')],
    ['names an unknown flag', source.replace(/^#!lua/, '#!lua flags=allow-stale')],
    ['claims allow-oom for what takes memory', source.replace(/^#!lua/, '#!lua flags=allow-oom')],
    ['forgets allow-oom for what frees', source.replace('  set: ', '  delete: ')],
    ['says no-writes of a script that writes', source.replace(/^#!lua/, '#!lua flags=no-writes')],
    ['does not begin with a name', source.replace('  set: ', '  ')],
    ['has no section Returns', source.replace('  Returns\n', '\n')],
    ['has no section Atomicity', source.replace('  Atomicity:', '  ')],
    ['has no section Retry', source.replace('  Retry:', '  ')],
    ['has no section Clock', source.replace('Clock: Redis TIME.', '')],
    ['has no section KEYS', source.replace(/^ {2}KEYS\[1\].*\n/m, '')],
    [
      'swaps two arguments',
      source.replace('ARGV[1] value  ', 'ARGV[1] ttlMs  ').replace('ARGV[2] ttlMs', 'ARGV[2] value'),
    ],
    ['misses an argument', source.replace(/^ {2}ARGV\[4\].*\n/m, '')],
    ['names an argument too many', source.replace(/^( {2}ARGV\[4\].*\n)/m, '$1  ARGV[8] fence  bytes\n')],
    ['counts wrongly', source.replace('  ARGV[3] ', '  ARGV[7] ')],
    ['names a key too many', source, { ...wrapper, keys: ['entry', 'lease'] }],
    ['names what the wrapper does not', source, { ...wrapper, args: wrapper.args.slice(0, 3) }],
    ['does not tell of a status', source.replace(/^ {4}\{'UNMET'.*\n/m, '')],
    ['tells of a status that never comes', source.replace("    {'UNMET'", "    {'LEASED'}\n    {'UNMET'")],
    ['calls one key many', source.replace('KEYS[1] entry', 'KEYS[1..n] entry'), { ...wrapper, keys: ['...entry'] }],
    [
      'does not know of a key in the body',
      source.replace('local entry = KEYS[1]', 'local entry, x = KEYS[1], KEYS[2]'),
    ],
    ['does not know of more keys', source.replace('local entry = KEYS[1]', 'local entry = KEYS[1] or #KEYS')],
    ['does not know of an argument in the body', `${source}\nredis.call('DEL', ARGV[8])`],
    ['claims a use that is only a comment', source.replace(/KEYS\[1\]$/m, 'nil -- KEYS[1]')],
  ];
  test.each(lies)('%s', (_, lying, names = wrapper) => {
    expect(lying === source && names === wrapper).toBe(false);
    expect(headerProblems(lying, names)).not.toEqual([]);
  });

  test('hides a write in a no-writes script', () => {
    const names = { keys: ['key'], args: [] };
    expect(headerProblems(reading.replace("'PTTL', key", "'PERSIST', key"), names)).toEqual([
      'calls PERSIST under no-writes',
    ]);
    expect(headerProblems(reading.replace("'PTTL', key", 'name, key'), names)).not.toEqual([]);
  });

  test('hides a write in a function that it calls', () => {
    const erase = 'local function erase(key)\n  redis.call("DEL", key)\nend\n';
    const names = { keys: ['key'], args: [] };
    expect(headerProblems(`${reading}\n${erase}`, names)).toEqual([]);
    expect(headerProblems(`${reading}\n${erase}erase(key)\n`, names)).toEqual(['calls DEL under no-writes']);
  });

  test('makes a reading script look as if it wrote', () => {
    expect(headerProblems(reading.replace(' flags=no-writes', ''), { keys: ['key'], args: [] })).not.toEqual([]);
  });

  test('is honest is not', () => {
    expect(headerProblems(source, wrapper)).toEqual([]);
    expect(headerProblems(reading, { keys: ['key'], args: [] })).toEqual([]);
  });
});
