import { execFileSync, spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { pythonWith } from '../support/python.js';
import { commandOn, startRedis, until } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { randomNamespace, sharedRedisUrl, startTestService } from '../support/service.js';

/** examples/python: docs/pipeline.md is enough to write a client in another language. */

const python = pythonWith('grpc_tools', 'google.rpc.status_pb2');
// grpcio-tools and googleapis-common-protos are not there on every machine; the tests are then counted as skipped
const withPython = python === undefined ? test.skip : test;
const generated = mkdtempSync(join(tmpdir(), 'shardkeep-test-python-'));
const running: ChildProcessWithoutNullStreams[] = [];

beforeAll(() => {
  if (python === undefined) return;
  const protos = readdirSync('proto', { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.proto'));
  const flags = ['-I', 'proto', `--python_out=${generated}`, `--grpc_python_out=${generated}`];
  execFileSync(python, ['-m', 'grpc_tools.protoc', ...flags, ...protos]);
});
afterEach(async () => {
  for (const child of running.splice(0)) child.kill('SIGKILL');
  await killServiceProcesses();
});
afterAll(() => {
  rmSync(generated, { recursive: true, force: true });
});

interface Program {
  readonly child: ChildProcessWithoutNullStreams;
  /** The next line of its output. */
  line(): Promise<string>;
  /** Its last line, as what it saw. */
  result(): Promise<unknown>;
}

function start(address: string, scenario: string): Program {
  const child = spawn(python ?? '', ['test/examples/pipeline_check.py', address, scenario], {
    env: { ...process.env, PYTHONPATH: `${generated}:examples/python` },
  });
  running.push(child);
  let complaints = '';
  child.stderr.on('data', (chunk: Buffer) => (complaints += chunk.toString()));
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const line = async (): Promise<string> => {
    const next = await lines.next();
    if (next.done === true) throw new Error(`the program ended: ${complaints}`);
    return next.value;
  };
  return {
    child,
    line,
    result: async () => {
      const seen: unknown = JSON.parse(await line());
      if (child.exitCode === null) await once(child, 'exit');
      return seen;
    },
  };
}

withPython('calls of one turn are answered each with its own, large ones and failures too', async () => {
  const service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
  expect(await start(service.address, 'calls').result()).toEqual({
    ...{ distinct: 2_000, large: 400_000, miss: false },
    ...{ badKey: 'INVALID_ARGUMENT INVALID_FIELD', badMethod: 'UNIMPLEMENTED' },
  });
  await service.stop();
});

withPython('a call ends by its deadline or with its task, and the others wait on', async () => {
  const redis = await startRedis();
  const service = await startTestService({ REDIS_URL: redis.url });
  redis.signal('SIGSTOP');
  const program = start(service.address, 'silent');
  expect(await program.line()).toBe('waiting');
  redis.signal('SIGCONT');
  program.child.stdin.write('\n');
  expect(await program.result()).toEqual({ late: 'DEADLINE_EXCEEDED', value: 1, cancelled: true });
  await service.stop();
  await redis.remove();
});

withPython('a service that is restarted under load counts each answered call once, and none is lost', async () => {
  const env = {
    REDIS_URL: sharedRedisUrl('standalone'),
    GRPC_LISTEN: `unix:${join(tmpdir(), `sk-${randomUUID().slice(0, 8)}.sock`)}`,
    NAMESPACE: randomNamespace(),
  };
  const first = await startServiceProcess(env);
  const program = start(env.GRPC_LISTEN, 'restart');
  const port = Number(new URL(env.REDIS_URL).port);
  const count = async (): Promise<number> => Number(await commandOn(port, ['GET', `${env.NAMESPACE}:cache:{restart}`]));
  await until(async () => (await count()) > 300);
  expect((await first.stop('SIGTERM')).code).toBe(0);
  await startServiceProcess(env);
  const before = await count();
  await until(async () => (await count()) > before + 300);
  program.child.stdin.write('\n');
  expect(await program.result()).toEqual({ answered: await count(), unknown: 0 });
});
