import { readFileSync } from 'node:fs';
import { isMap, isNode, isScalar, LineCounter, parseDocument, visit, type Document } from 'yaml';
import type { core } from 'zod';
import { ConfigError } from './config-error.js';
import { policiesFileSchema, type PoliciesFile } from './policies.js';

/** What is wrong at one place of the policies file, with its line. */
export type Complain = (field: core.$ZodIssue['path'], message: string) => void;

/** The text of a file; throws ConfigError. */
export function readPoliciesFile(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new ConfigError([`POLICIES_FILE: cannot read ${path}: ${describe(error)}`]);
  }
}

/**
 * Parses the policies file; throws ConfigError with every problem, each with the file's name and the line. `check` looks at
 * what the schema cannot see.
 */
export function parsePoliciesFile(
  path: string,
  text: string,
  check: (file: PoliciesFile, complain: Complain) => void,
): PoliciesFile {
  const problems: string[] = [];
  const file = parse(path, text, problems, check);
  if (file === undefined || problems.length > 0) throw new ConfigError(problems);
  return file;
}

function parse(
  path: string,
  text: string,
  problems: string[],
  check: (file: PoliciesFile, complain: Complain) => void,
): PoliciesFile | undefined {
  // cut off by who writes it just now, or by mistake: not the wish for no policies
  if (text.trim() === '') {
    problems.push(`POLICIES_FILE: ${path}: is empty`);
    return undefined;
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  if (document.errors.length > 0) {
    for (const { pos, message } of document.errors) {
      problems.push(`POLICIES_FILE: ${path}:${String(lines.linePos(pos[0]).line)}: ${message}`);
    }
    return undefined;
  }
  // it would go unseen: objects take it for what they inherit
  visit(document, {
    Pair: (_, { key }) => {
      if (!isScalar(key) || key.value !== '__proto__') return;
      const line = String(lines.linePos(key.range?.[0] ?? 0).line);
      problems.push(`POLICIES_FILE: ${path}:${line}: __proto__: must have another name`);
    },
  });
  let content: unknown;
  try {
    content = document.toJS() ?? {};
  } catch (error) {
    // an alias without anchor, or more aliases than a file of policies can need
    problems.push(`POLICIES_FILE: ${path}: ${describe(error)}`);
    return undefined;
  }
  const complain: Complain = (field, message) => {
    const offset = offsetOf(document, field);
    const line = offset === undefined ? '' : `:${String(lines.linePos(offset).line)}`;
    problems.push(`POLICIES_FILE: ${path}${line}: ${field.join('.') || 'file'}: ${message}`);
  };
  const parsed = policiesFileSchema.safeParse(content);
  if (parsed.success) {
    check(parsed.data, complain);
    return parsed.data;
  }
  for (const issue of parsed.error.issues) {
    if (issue.code === 'unrecognized_keys') {
      for (const key of issue.keys) complain([...issue.path, key], 'is not known');
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
