import { readFileSync } from 'node:fs';
import { isMap, isNode, isScalar, LineCounter, parseDocument, visit, type Document } from 'yaml';
import type { core, ZodType } from 'zod';
import { ConfigError } from './config-error.js';

/** What is wrong at one place of a file, with its line. */
export type Complain = (field: core.$ZodIssue['path'], message: string) => void;

/** What a file that a setting names may hold. */
export interface YamlFileKind<File> {
  /** The name of the setting. */
  readonly setting: string;
  readonly schema: ZodType<File>;
  /** Whether a problem may quote what is in the file: keys that nobody knows, and what the YAML parser stumbled over. */
  readonly mayQuote: boolean;
  /** Looks at what the schema cannot see. */
  readonly check: (file: File, complain: Complain) => void;
}

/** The text of a file; throws ConfigError. */
export function readYamlFile(setting: string, path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new ConfigError([`${setting}: cannot read ${path}: ${describe(error)}`]);
  }
}

/** Parses a file; throws ConfigError with every problem, each with the file's name and the line. */
export function parseYamlFile<File>(path: string, text: string, kind: YamlFileKind<File>): File {
  const problems: string[] = [];
  const file = parse(path, text, problems, kind);
  if (file === undefined || problems.length > 0) throw new ConfigError(problems);
  return file;
}

function parse<File>(
  path: string,
  text: string,
  problems: string[],
  { setting, schema, mayQuote, check }: YamlFileKind<File>,
): File | undefined {
  // cut off by who writes it just now, or by mistake: not the wish for nothing
  if (text.trim() === '') {
    problems.push(`${setting}: ${path}: is empty`);
    return undefined;
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  if (document.errors.length > 0) {
    for (const { pos, message, code } of document.errors) {
      const told = mayQuote ? message : `no YAML: ${code}`;
      problems.push(`${setting}: ${path}:${String(lines.linePos(pos[0]).line)}: ${told}`);
    }
    return undefined;
  }
  // it would go unseen: objects take it for what they inherit
  visit(document, {
    Pair: (_, { key }) => {
      if (!isScalar(key) || key.value !== '__proto__') return;
      const line = String(lines.linePos(key.range?.[0] ?? 0).line);
      problems.push(`${setting}: ${path}:${line}: __proto__: must have another name`);
    },
  });
  let content: unknown;
  try {
    content = document.toJS() ?? {};
  } catch (error) {
    // an alias without anchor, or more aliases than such a file can need
    problems.push(`${setting}: ${path}: ${mayQuote ? describe(error) : 'aliases that do not resolve'}`);
    return undefined;
  }
  const complain: Complain = (field, message) => {
    const offset = offsetOf(document, field);
    const line = offset === undefined ? '' : `:${String(lines.linePos(offset).line)}`;
    problems.push(`${setting}: ${path}${line}: ${field.join('.') || 'file'}: ${message}`);
  };
  const parsed = schema.safeParse(content);
  if (parsed.success) {
    check(parsed.data, complain);
    return parsed.data;
  }
  for (const issue of parsed.error.issues) {
    if (issue.code === 'unrecognized_keys') {
      for (const key of issue.keys) {
        if (mayQuote) complain([...issue.path, key], 'is not known');
        else complain(issue.path, 'has a key that is not known');
      }
    } else {
      complain(issue.path, issue.message);
    }
  }
  return undefined;
}

/** Where a field begins, by its key where it has one; for a field that is missing, where the next one above does. */
function offsetOf(document: Document, field: core.$ZodIssue['path']): number | undefined {
  for (let length = field.length; length > 0; length--) {
    const parent: unknown = document.getIn(field.slice(0, length - 1), true);
    const name = field[length - 1];
    if (isMap(parent)) {
      const pair = parent.items.find(({ key }) => isScalar(key) && key.value === name);
      if (pair !== undefined && isNode(pair.key)) return pair.key.range?.[0];
    }
    const node: unknown = document.getIn(field.slice(0, length), true);
    if (isNode(node)) return node.range?.[0];
  }
  return document.contents?.range?.[0];
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
