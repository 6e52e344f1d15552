import { Buffer } from 'node:buffer';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { clearTimeout, setTimeout } from 'node:timers';

/** Services that scripts start, on a free port, with a Redis of their own. None outlives this process. */

const running = new Set();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});
/** By shell convention 128 + the signal's number. */
for (const [signal, status] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
]) {
  process.on(signal, () => process.exit(status));
}

/** For a service that hangs; it is ready within a second or two. */
const READY_LIMIT_MS = 60_000;
/** How many lines of what it said are told when it ends too early. */
const TOLD_LINES = 20;

/** What a process needs from its surroundings; settings of a service that lie around are not among it. */
export function ownEnvironment() {
  const names = ['PATH', 'HOME', 'TMPDIR', 'REDIS_SERVER_BIN', 'NODE_EXTRA_CA_CERTS'];
  return Object.fromEntries(names.filter((name) => name in process.env).map((name) => [name, process.env[name]]));
}

/**
 * Starts `command` with these settings and none of this process's own. Resolves when its Redis answers, with its address
 * and `stop`, which throws unless the service ends as it should; rejects when it ends before.
 */
export async function startService([program, ...args], settings = {}) {
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...ownEnvironment(), GRPC_LISTEN: '127.0.0.1:0', ...settings },
  });
  running.add(child);
  const exited = new Promise((resolve) => {
    const settle = (how) => {
      running.delete(child);
      resolve(how);
    };
    child.once('error', (error) => settle(error.message));
    child.once('exit', (code, signal) => settle(signal ?? code));
  });
  const said = [];
  const address = await new Promise((resolve, reject) => {
    createInterface(child.stdout).on('line', (line) => {
      said.push(line);
      const ready = readyLine(line);
      if (ready !== undefined) {
        clearTimeout(tooLong);
        resolve(ready.address);
      }
    });
    const tooLong = setTimeout(() => child.kill('SIGKILL'), READY_LIMIT_MS);
    void exited.then((how) => {
      reject(
        new Error(`the service ended (${String(how)}) before it was ready:\n${said.slice(-TOLD_LINES).join('\n')}`),
      );
    });
  });
  return {
    address,
    stop: async () => {
      child.kill('SIGTERM');
      const how = await exited;
      if (how !== 0) throw new Error(`the service ended with ${String(how)}:\n${said.slice(-TOLD_LINES).join('\n')}`);
    },
  };
}

function readyLine(line) {
  if (!line.startsWith('{')) return undefined;
  const parsed = JSON.parse(line);
  return parsed.msg === 'ready' ? parsed : undefined;
}

/**
 * Runs a program to its end, or for `limitMs`. Answers how it ended (its exit code, a signal, or why it could not start)
 * and all that it said.
 */
export async function runProgram([program, ...args], { limitMs, ...options }) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options, timeout: limitMs });
  running.add(child);
  const output = [];
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => output.push(chunk));
  // `close` comes behind the last of the output
  const how = await once(child, 'close').then(
    ([code, signal]) => signal ?? code,
    (error) => error.message,
  );
  running.delete(child);
  return { how, output: Buffer.concat(output).toString() };
}
