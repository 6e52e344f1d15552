import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { sharedRedisUrl, startTestService } from '../support/service.js';

/** examples/go: a client of the protos in Go. */

const run = promisify(execFile);
const BUILDER = 'scripts/build-go-example.mjs';
const hasGo = spawnSync(process.execPath, [BUILDER]).status === 0;
// Go and its modules are not there on every machine; the tests are then counted as skipped
const withGo = hasGo ? test : test.skip;
const folder = mkdtempSync(join(tmpdir(), 'shardkeep-test-go-'));
const program = join(folder, 'example');

beforeAll(() => {
  if (hasGo) execFileSync(process.execPath, [BUILDER, program]);
  // gRPC itself is compiled the first time
}, 600_000);
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

withGo('the Go client logs in, writes under a guard and hears of its logout', async () => {
  const service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
  const { stdout } = await run(program, [service.address]);
  expect(stdout.trim().split('\n')).toEqual([
    'logged in, and the token is valid',
    'profile {"level":8}, the later fencing token is higher: true',
    'a late write is refused: FailedPrecondition OLD_FENCING_TOKEN, the key is at the later token: true',
    '5 of 6 guesses allowed',
    'the session was ended: logout',
  ]);
  await service.stop();
});

withGo('the Go client ends with a failure where no service is', async () => {
  await expect(run(program, [`unix:${join(folder, 'nobody.sock')}`])).rejects.toMatchObject({ code: 1, stdout: '' });
});
