import { execFileSync } from 'node:child_process';

/** A Python that has these modules; undefined where there is none. */
export function pythonWith(...modules: readonly string[]): string | undefined {
  try {
    execFileSync('python3', ['-c', modules.map((name) => `import ${name}`).join('\n')], { stdio: 'ignore' });
    return 'python3';
  } catch {
    return undefined;
  }
}
