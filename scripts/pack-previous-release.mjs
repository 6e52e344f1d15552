// Packs the built service, without the client and its types, into the archive that test/compat runs beside the service of today.
import { execFileSync } from 'node:child_process';

execFileSync(
  'tar',
  [
    '-czf',
    'test/compat/previous-release.tgz',
    '--exclude=dist/bench',
    '--exclude=dist/client',
    '--exclude=dist/integrations',
    '--exclude=dist/package',
    '--exclude=*.d.ts',
    '--exclude=*.map',
    'dist',
    'package.json',
    'proto',
  ],
  { stdio: 'inherit' },
);
