/** Holds a script's header to its body and to its wrapper: headers that nothing checks rot. */

export interface WrapperNames {
  readonly keys: readonly string[];
  readonly args: readonly string[];
}

/** Commands that a `no-writes` script may call; a test asks Redis whether each of them writes. */
export const READING_COMMANDS: ReadonlySet<string> = new Set([
  ...['EXISTS', 'TYPE', 'TTL', 'PTTL', 'EXPIRETIME', 'PEXPIRETIME', 'TIME', 'OBJECT', 'INFO'],
  ...['GET', 'MGET', 'GETRANGE', 'STRLEN'],
  ...['HGET', 'HMGET', 'HGETALL', 'HEXISTS', 'HLEN', 'HKEYS', 'HVALS'],
  ...['ZCARD', 'ZCOUNT', 'ZSCORE', 'ZMSCORE', 'ZRANGE', 'ZRANGEBYSCORE', 'ZRANK', 'ZREVRANGE'],
  ...['LLEN', 'LRANGE', 'LINDEX', 'SCARD', 'SISMEMBER', 'SMEMBERS', 'SSCAN', 'XINFO', 'XLEN', 'XRANGE', 'XREVRANGE'],
]);

/** What frees memory or only keeps something alive must work while Redis is out of memory, and nothing else may. */
const ALLOWED_OUT_OF_MEMORY =
  /^(?:validate|rotate|touch|extend|delete|release|give-back|remove|destroy|refund|reset|settle|cleanup|detach|renew|revoke|sweep|fail|cancel|force)(?:-|$)|^check-format$|^claim-lock$|^unban$/;

const KNOWN_FLAGS = new Set(['no-writes', 'allow-oom']);
const SECTIONS = ['Returns', 'Atomicity', 'Retry', 'Clock'];

/** Everything in which the header of a script (includes expanded) lies about its body or its wrapper. */
export function headerProblems(source: string, wrapper: WrapperNames): string[] {
  const shebang = /^#!lua(?: flags=([a-z,-]+))?\n/.exec(source);
  if (shebang === null) return ['the first line is no #!lua with flags'];
  const block = /^--\[\[\n([\s\S]*?)\n\]\]$/m.exec(source);
  if (block?.index !== shebang[0].length) return ['no header block behind the first line'];
  const header = block[1] ?? '';
  const body = withoutUnusedFunctions(withoutComments(source.slice(shebang[0].length)));
  const flags = shebang[1]?.split(',') ?? [];
  const name = /^ {2}([a-z-]+): /.exec(header)?.[1];
  return [
    ...(name === undefined ? ['the header does not begin with the name of the script'] : flagProblems(name, flags)),
    ...SECTIONS.filter((section) => !new RegExp(`(?:^|\\s)${section}(?::|$)`, 'm').test(header)).map(
      (section) => `no section ${section}`,
    ),
    ...parameterProblems('KEYS', wrapper.keys, header, body),
    ...parameterProblems('ARGV', wrapper.args, header, body),
    ...commandProblems(flags, body),
    ...statusProblems(header, body),
  ];
}

function flagProblems(name: string, flags: readonly string[]): string[] {
  const allowed = ALLOWED_OUT_OF_MEMORY.test(name);
  return [
    ...flags.filter((flag) => !KNOWN_FLAGS.has(flag)).map((flag) => `unknown flag ${flag}`),
    ...(flags.includes('allow-oom') && !allowed ? ['allow-oom on a script that is not on the list for it'] : []),
    ...(allowed && !flags.includes('allow-oom') ? ['no allow-oom on a script that has to work on a full Redis'] : []),
  ];
}

function parameterProblems(kind: 'KEYS' | 'ARGV', names: readonly string[], header: string, body: string): string[] {
  const declared = [...header.matchAll(new RegExp(`^ {2}${kind}\\[(\\d+)(\\.\\.[a-z])?\\] +(\\w+)`, 'gm'))];
  const documented = declared.map(([, , many, parameter]) => `${many === undefined ? '' : '...'}${parameter ?? ''}`);
  const problems: string[] = [];
  if (declared.some(([, index], at) => Number(index) !== at + 1)) problems.push(`${kind} are not numbered 1, 2, …`);
  if (declared.length === 0 && !new RegExp(`^ {2}${kind} none$`, 'm').test(header)) problems.push(`no section ${kind}`);
  if (documented.join() !== names.join()) {
    problems.push(`${kind} of the header are (${documented.join()}), of the wrapper (${names.join()})`);
  }

  const variadic = documented.at(-1)?.startsWith('...') === true;
  const fixed = variadic ? documented.length - 1 : documented.length;
  const indexes = new Set(
    [...body.matchAll(new RegExp(`\\b${kind}\\[(\\d+)\\]`, 'g'))].map(([, index]) => Number(index)),
  );
  // `#KEYS`, `KEYS[i]`, `unpack(KEYS)`: anything but a constant index
  const usesAll = new RegExp(`\\b${kind}\\b(?!\\[\\d+\\])`).test(body);
  for (let index = 1; index <= fixed; index++) {
    // a list handed on whole takes those before it along
    if (!indexes.has(index) && !(variadic && usesAll)) problems.push(`the body does not use ${kind}[${String(index)}]`);
  }
  if (variadic && !usesAll) problems.push(`the body does not go through ${kind}`);
  if (!variadic && usesAll) problems.push(`the body goes through ${kind}, the header names each`);
  const beyond = [...indexes].filter((index) => index < 1 || (index > fixed && !variadic));
  problems.push(...beyond.map((index) => `the body uses ${kind}[${String(index)}], which the header does not name`));
  return problems;
}

function commandProblems(flags: readonly string[], body: string): string[] {
  const calls = [...body.matchAll(/\bredis\.p?call\(\s*(?:'([A-Za-z]+)'|"([A-Za-z]+)")?/g)];
  const commands = calls.map(([, single, double]) => (single ?? double ?? '').toUpperCase());
  const writes = [...new Set(commands.filter((command) => !READING_COMMANDS.has(command)))];
  const named = writes.map((command) => (command === '' ? 'a command not named in place' : command)).join();
  if (flags.includes('no-writes')) return writes.length > 0 ? [`calls ${named} under no-writes`] : [];
  return writes.length === 0 ? ['writes nothing, but is not no-writes'] : [];
}

/** A status is a quoted word in capitals that is no argument of a Redis command. */
function statusProblems(header: string, body: string): string[] {
  const returns = /^ {2}Returns\n([\s\S]*?)(?:\n\s*\n|$(?![\s\S]))/m.exec(header)?.[1] ?? '';
  const documented = new Set([...returns.matchAll(/^ +\{'([A-Z_]+)'/gm)].map(([, word]) => word ?? ''));
  const returned = new Set([...withoutRedisCalls(body).matchAll(/'([A-Z_]{2,})'/g)].map(([, word]) => word ?? ''));
  return [
    ...[...returned].filter((word) => !documented.has(word)).map((word) => `the header does not document ${word}`),
    ...[...documented].filter((word) => !returned.has(word)).map((word) => `the body never answers ${word}`),
  ];
}

const STRING_OR_COMMENT = /'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|--\[\[[\s\S]*?\]\]|--[^\n]*/g;

function withoutComments(text: string): string {
  return text.replace(STRING_OR_COMMENT, (match) => (match.startsWith('--') ? '' : match));
}

/**
 * Takes out the functions of included files that this script does not need: what they do does not count. One that a table
 * has under a name, `name = function`, is needed when something of that name is called.
 */
function withoutUnusedFunctions(body: string): string {
  for (const start of body.matchAll(/^( *)local function (\w+)\(/gm)) {
    const [, indent = '', name = ''] = start;
    const definition = new RegExp(`^[\\s\\S]*?^${indent}end$`, 'm').exec(body.slice(start.index))?.[0] ?? '';
    const named = new RegExp(`\\b${name}\\b`, 'g');
    const uses = withoutUncalledEntries(body).match(named) ?? [];
    const inside = withoutUncalledEntries(definition, body).match(named) ?? [];
    if (uses.length === inside.length) return withoutUnusedFunctions(body.replace(definition, () => ''));
  }
  return body;
}

function withoutUncalledEntries(text: string, body = text): string {
  return text.replace(/^ *(\w+) = \w+,$/gm, (entry, key: string) =>
    new RegExp(`\\.${key}\\b`).test(body) ? entry : '',
  );
}

/** Takes out `redis.call(…)` and its like, with everything between the brackets. */
function withoutRedisCalls(body: string): string {
  let rest = body;
  for (;;) {
    const start = /\bredis\.\w+\(/.exec(rest);
    if (start === null) return rest;
    let at = start.index + start[0].length;
    for (let depth = 1; depth > 0 && at < rest.length; at++) {
      if (rest[at] === '(') depth++;
      else if (rest[at] === ')') depth--;
    }
    rest = `${rest.slice(0, start.index)}nil${rest.slice(at)}`;
  }
}
