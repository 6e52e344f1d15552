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
  /**
   * So many calls, made in one turn of the event loop, may share a command. Redis does nothing else meanwhile, so fewer of
   * what takes it longer: 32 calls of 15 µs, 8 of 60 are 0.5 ms.
   */
  readonly batched?: number;
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
  /** The script that runs several calls of this one; undefined where it is not `batched`. */
  readonly batch: BatchScript | undefined;
  readonly bind: (keys: Named<Keys, string>, args: Named<Args, ScriptArg>) => BoundScript<Reply>;
}

/** What it takes to send a script. */
export type SentScript = Pick<AnyLuaScript, 'name' | 'source' | 'sha1' | 'readOnly'>;

/** Runs several calls of a script; `lua/several-calls.lua` tells how. */
export interface BatchScript extends SentScript {
  readonly maxCalls: number;
}

/** A script with its keys and arguments, ready to run. On a Cluster the first key tells where. */
export interface BoundScript<Reply> {
  readonly script: AnyLuaScript<Reply>;
  readonly keys: readonly string[];
  readonly args: readonly ScriptArg[];
}

/** A script of any signature; what loading and running need. */
export type AnyLuaScript<Reply = unknown> = Pick<
  LuaScript<readonly string[], readonly string[], Reply>,
  'name' | 'path' | 'keyNames' | 'argNames' | 'source' | 'sha1' | 'readOnly' | 'parse' | 'batch'
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
  return expand(readFileSync(path, 'utf8'), path, included);
}

function expand(text: string, path: string, included: Set<string>): string {
  return text.replace(INCLUDE, (_, relative: string) => {
    const target = resolve(dirname(path), relative);
    return included.has(target) ? '' : readScript(target, included);
  });
}

export const SEVERAL_CALLS = fileURLToPath(new URL('./lua/several-calls.lua', import.meta.url));

function batchOf(
  { name, path, readOnly }: Pick<AnyLuaScript, 'name' | 'path' | 'readOnly'>,
  maxCalls: number,
): BatchScript {
  const source = readBatchScript(path);
  return { name, source, sha1: sha1Of(source), readOnly, maxCalls };
}

/** The text that runs several calls: a script's body as a function, and the loop that calls it. */
function readBatchScript(path: string): string {
  const text = readFileSync(path, 'utf8');
  // the body begins behind the last include, or behind the header where there is none
  const body = /^--- @include [^\n]*\n(?![\s\S]*^--- @include )|^\]\]\n(?![\s\S]*^--- @include )/m.exec(text);
  if (body === null) throw new Error(`${path} has no header`);
  const included = new Set<string>();
  const bodyAt = body.index + body[0].length;
  const before = expand(text.slice(0, bodyAt), path, included);
  return `${before}local function run_call(KEYS, ARGV)\n${text.slice(bodyAt)}end\n${readScript(SEVERAL_CALLS)}`;
}

function sha1Of(source: string): string {
  return createHash('sha1').update(source).digest('hex');
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
    sha1: sha1Of(source),
    readOnly: /^#!lua [^\n]*\bno-writes\b/.test(source),
    parse: definition.parse,
  };
  const { batched } = definition;
  const loaded = { ...script, batch: batched === undefined ? undefined : batchOf(script, batched) };
  const { keys: keyNames, args: argNames } = definition;
  return {
    ...loaded,
    bind: (keys, args) => ({ script: loaded, keys: inOrder(keyNames, keys), args: inOrder(argNames, args) }),
  };
}

function inOrder<Names extends readonly string[], Value extends ScriptArg>(
  names: Names,
  values: Named<Names, Value>,
): Value[] {
  const ordered: Value[] = [];
  for (const name of names as readonly Names[number][]) {
    const value: Value | readonly Value[] = values[name];
    if (Array.isArray(value)) ordered.push(...(value as readonly Value[]));
    else ordered.push(value as Value);
  }
  return ordered;
}
