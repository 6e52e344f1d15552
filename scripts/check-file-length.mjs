import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** A file that needs more lines does more than one job. */
const MOST_LINES = 350;

const tooLong = readdirSync('src', { recursive: true })
  .filter((file) => /\.(ts|lua)$/.test(file) && !/^gen[\\/]/.test(file))
  .map((file) => ({ file: join('src', file), lines: readFileSync(join('src', file), 'utf8').split('\n').length - 1 }))
  .filter(({ lines }) => lines > MOST_LINES);

for (const { file, lines } of tooLong) process.stderr.write(`${file}: ${lines} lines, at most ${MOST_LINES}\n`);
if (tooLong.length > 0) process.exitCode = 1;
