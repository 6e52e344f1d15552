import { readFileSync } from 'node:fs';
import ts from 'typescript';

/** A block of TypeScript on a page, marked by `<!-- block: name -->` before it. */
export interface PageBlock {
  readonly name: string;
  readonly code: string;
}

export function blocksOf(page: string): PageBlock[] {
  const found = readFileSync(page, 'utf8').matchAll(/<!-- block: ([a-z-]+) -->\n```ts\n([\s\S]*?)\n```/g);
  return [...found].map(([, name = '', code = '']) => ({ name, code }));
}

export interface Surroundings {
  /** The module that has them, from where the block's own module is. */
  readonly from: string;
  readonly values: readonly string[];
  readonly types?: readonly string[];
}

/** A block as a module of its own, with what it takes from around it; what it declares itself hides that. */
export function moduleOf(code: string, { from, values, types = [] }: Surroundings): string {
  const used = (name: string): boolean => new RegExp(`\\b${name}\\b`).test(code);
  const taken = values.filter((name) => used(name) && !new RegExp(`(const|function) ${name}\\b`).test(code));
  const names = [...taken, ...types.filter(used).map((name) => `type ${name}`)];
  const header = names.length === 0 ? '' : `import { ${names.join(', ')} } from '${from}';\n`;
  return `${header}${code}\nexport {};\n`;
}

export interface TypeProblem {
  readonly file: string | undefined;
  readonly problem: string;
}

/** What the compiler says of modules, by the project's settings; names that a page declares and leaves are its own affair. */
export function typeProblemsOf(files: readonly string[]): TypeProblem[] {
  const { config } = ts.readConfigFile('tsconfig.json', (path) => ts.sys.readFile(path)) as { config: object };
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, process.cwd());
  const program = ts.createProgram([...files], { ...options, noUnusedLocals: false, noUnusedParameters: false });
  return ts.getPreEmitDiagnostics(program).map(({ file, messageText }) => ({
    file: file?.fileName.split('/').at(-1),
    problem: ts.flattenDiagnosticMessageText(messageText, '\n'),
  }));
}
