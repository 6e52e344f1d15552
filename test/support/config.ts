import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ConfigError, loadConfig } from '../../src/config/config.js';
import type { Environment } from './service.js';

/** What loadConfig says against these settings; empty when nothing. */
export function problemsOf(env: Environment): readonly string[] {
  try {
    loadConfig(env);
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
}

/** The settings that are named as bad, each once. */
export function badSettings(env: Environment): string[] {
  return [...new Set(problemsOf(env).map((problem) => problem.slice(0, problem.indexOf(':'))))].sort();
}

/** Policies files of one test file. */
export class PoliciesFiles {
  private readonly folder = mkdtempSync(join(tmpdir(), 'shardkeep-policies-'));
  private count = 0;

  /** Answers the path of a new file. */
  write(text: string): string {
    const path = join(this.folder, `policies-${String(++this.count)}.yaml`);
    writeFileSync(path, text);
    return path;
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
