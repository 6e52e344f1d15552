import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

/**
 * Builds examples/go, with its stubs generated beside a copy of it, into the file that the argument names. Without an
 * argument only finds out whether it could. Exit code 3, with the reason, when Go or a module it needs is not there:
 * nothing is downloaded.
 */

const FOLDER = join('examples', 'go');
const UNAVAILABLE = 3;
/** Whatever else the program and the plugins are built of, these need it. */
const PACKAGES = [
  'google.golang.org/grpc',
  'google.golang.org/grpc/credentials/insecure',
  'google.golang.org/genproto/googleapis/rpc/errdetails',
  'tool',
];
const env = { ...process.env, GOPROXY: 'off', GOTOOLCHAIN: 'local', GOWORK: 'off' };

function whyUnavailable() {
  const version = spawnSync('go', ['version'], { env });
  if (version.status !== 0) return 'go is not there';
  const listed = spawnSync('go', ['-C', FOLDER, 'list', '-deps', ...PACKAGES], { env });
  if (listed.status === 0) return undefined;
  return 'go is too old, or the modules are not downloaded: go -C examples/go mod download';
}

function build(program) {
  const copy = mkdtempSync(join(tmpdir(), 'shardkeep-go-'));
  try {
    const module = join(copy, FOLDER);
    cpSync(FOLDER, module, { recursive: true });
    const buf = join('node_modules', '.bin', 'buf');
    execFileSync(buf, ['generate', '--template', join(FOLDER, 'buf.gen.yaml'), '-o', copy], { env });
    execFileSync('go', ['-C', module, 'build', '-o', resolve(program), '.'], { env });
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}

const unavailable = whyUnavailable();
if (unavailable !== undefined) {
  process.stderr.write(`${unavailable}\n`);
  process.exitCode = UNAVAILABLE;
} else if (process.argv[2] !== undefined) {
  build(process.argv[2]);
}
