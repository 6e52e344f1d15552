import { mkdtempSync, readdirSync, readlinkSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, sep } from 'node:path';

/**
 * Everything that a run of the tests and the processes it starts write for a while: one folder, so that nothing stays
 * whatever fails or is killed. It bears the id of the process that made it, which tells what an interrupted run left.
 */

// short: the sockets in it have 107 bytes for their path
const PREFIX = 'sk-tests-';

/** From now on the temporary folder of this process and all that it starts. */
export function enterRunFolder() {
  const parent = realpathSync(tmpdir());
  for (const name of readdirSync(parent)) {
    if (name.startsWith(PREFIX) && !isRunning(Number(name.split('-')[2]))) removeRunFolder(join(parent, name));
  }
  const folder = mkdtempSync(join(parent, `${PREFIX}${String(process.pid)}-`));
  process.env.TMPDIR = folder;
  return folder;
}

/** With the processes that still run there, such as a Redis whose test was killed. */
export function removeRunFolder(folder) {
  for (const pid of processesIn(folder)) process.kill(pid, 'SIGKILL');
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}

/** Those whose working folder it is, which a Redis makes of the one it is given; known on Linux only. */
function processesIn(folder) {
  return numbersIn('/proc').filter((pid) => workingFolder(pid)?.startsWith(folder + sep));
}

function workingFolder(pid) {
  try {
    return readlinkSync(`/proc/${String(pid)}/cwd`);
  } catch {
    return undefined;
  }
}

function numbersIn(folder) {
  try {
    return readdirSync(folder)
      .filter((name) => /^\d+$/.test(name))
      .map(Number);
  } catch {
    return [];
  }
}

function isRunning(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}
