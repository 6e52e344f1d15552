import { randomUUID } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** What a service of a test is given, also where no jest runs. */

export type Environment = Readonly<Record<string, string>>;

/** A namespace that no other test uses. */
export function randomNamespace(): string {
  return `t-${randomUUID().slice(0, 13)}`;
}

/** Writes a policies file (JSON is YAML) and answers its path. */
export function policiesFile(policies: object): string {
  const path = join(mkdtempSync(join(tmpdir(), 'shardkeep-test-policies-')), 'policies.yaml');
  writeFileSync(path, JSON.stringify(policies));
  return path;
}

/**
 * What a busy machine may take from a Redis or a service for a moment is no outage and no deadline; tests of outages say how
 * long one is, and tests of deadlines how late.
 */
export const PATIENCE: Environment = { REDIS_TIMEOUT_MS: '5000', DEFAULT_DEADLINE_MS: '20000', SLOW_OPERATION_MS: '0' };
