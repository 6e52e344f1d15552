import { copyFileSync, mkdirSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** The Lua scripts stand beside the modules that read them; tsc leaves them behind. argv[2]: where those went, if not to dist. */
const [, , to = 'dist'] = process.argv;
for (const file of readdirSync('src', { recursive: true })) {
  if (!file.endsWith('.lua')) continue;
  const target = join(to, file);
  mkdirSync(dirname(target), { recursive: true });
  copyFileSync(join('src', file), target);
}
