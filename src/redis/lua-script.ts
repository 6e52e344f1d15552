import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export type ScriptArg = string | Buffer;

/** A name beginning with `...` stands for a list; only the last name of KEYS or ARGV can. */
type Named<Names extends readonly string[], Value> = {
  readonly [Name in Names[number]]: Name extends `...${string}` ? readonly Value[] : Value;
};

export interface LuaScriptDefinition<Keys extends readonly string[], Args extends readonly string[], Reply> {
  /** The file, relative to the module that defines the script. */
  readonly file: string;
  /** `import.meta.url` of that module. */
  readonly from: string;
  /** Names of KEYS, as in the file's header (a test compares). */
  readonly keys: Keys;
  /** Names of ARGV, as in the file's header (a test compares). */
  readonly args: Args;
  /** The only way out of `unknown`: returns the typed reply or throws UnexpectedReplyError. */
  readonly parse: (reply: unknown) => Reply;
}

/** An operation on Redis: one Lua script, its keys, arguments and reply. */
export interface LuaScript<Keys extends readonly string[], Args extends readonly string[], Reply> {
  readonly name: string;
  readonly path: string;
  readonly keyNames: Keys;
  readonly argNames: Args;
  /** The text with its includes expanded; what Redis runs and what the SHA-1 is of. */
  readonly source: string;
  readonly sha1: string;
  /** The script declares `no-writes`: an outcome that got lost changed nothing. */
  readonly readOnly: boolean;
  readonly parse: (reply: unknown) => Reply;
  readonly bind: (keys: Named<Keys, string>, args: Named<Args, ScriptArg>) => BoundScript<Reply>;
}

/** A script with its keys and arguments, ready to run. */
export interface BoundScript<Reply> {
  readonly script: AnyLuaScript<Reply>;
  /** The first key: where on a Cluster the script runs. */
  readonly routingKey: string;
  /** EVALSHA with everything that follows it. */
  readonly command: readonly ScriptArg[];
}

/** A script of any signature; what loading and running need. */
export type AnyLuaScript<Reply = unknown> = Pick<
  LuaScript<readonly string[], readonly string[], Reply>,
  'name' | 'path' | 'keyNames' | 'argNames' | 'source' | 'sha1' | 'readOnly' | 'parse'
>;

/** A script answered in a shape that its wrapper does not know: a bug, or a script and a service of different versions. */
export class UnexpectedReplyError extends Error {
  override readonly name = 'UnexpectedReplyError';
  constructor(what: string) {
    super(`unexpected reply: ${what}`);
  }
}

const INCLUDE = /^--- @include "([^"]+)"$/gm;

/** Reads a script and expands each `--- @include "path"` line (relative to the including file) once. */
export function readScript(path: string, included = new Set<string>()): string {
  included.add(path);
  return readFileSync(path, 'utf8').replace(INCLUDE, (_, relative: string) => {
    const target = resolve(dirname(path), relative);
    return included.has(target) ? '' : readScript(target, included);
  });
}

export function luaScript<const Keys extends readonly string[], const Args extends readonly string[], Reply>(
  definition: LuaScriptDefinition<Keys, Args, Reply>,
): LuaScript<Keys, Args, Reply> {
  const path = resolve(dirname(fileURLToPath(definition.from)), definition.file);
  const source = readScript(path);
  const script = {
    name: definition.file.replace(/^.*\//, '').replace(/\.lua$/, ''),
    path,
    keyNames: definition.keys,
    argNames: definition.args,
    source,
    sha1: createHash('sha1').update(source).digest('hex'),
    readOnly: /^#!lua [^\n]*\bno-writes\b/.test(source),
    parse: definition.parse,
  };
  const { keys: keyNames, args: argNames } = definition;
  return {
    ...script,
    bind: (keys, args) => {
      const command: ScriptArg[] = ['EVALSHA', script.sha1, ''];
      pushInOrder(command, keyNames, keys);
      command[2] = String(command.length - FIRST_KEY);
      pushInOrder(command, argNames, args);
      return { script, routingKey: String(command[FIRST_KEY] ?? ''), command };
    },
  };
}

/** In EVALSHA sha1 numkeys key… */
const FIRST_KEY = 3;

/** KEYS of a command that `bind` made. */
export function keysOf(command: readonly ScriptArg[]): string[] {
  return command.slice(FIRST_KEY, FIRST_KEY + Number(command[FIRST_KEY - 1])).map(String);
}

function pushInOrder<Names extends readonly string[], Value extends ScriptArg>(
  command: ScriptArg[],
  names: Names,
  values: Named<Names, Value>,
): void {
  for (const name of names as readonly Names[number][]) {
    const value: Value | readonly Value[] = values[name];
    if (Array.isArray(value)) command.push(...(value as readonly Value[]));
    else command.push(value as Value);
  }
}
