import { execFileSync, spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { Server, ServerCredentials, status as Code, type ServerDuplexStream } from '@grpc/grpc-js';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { ErrorInfo } from 'nice-grpc-error-details';
import { CacheServiceService } from '../../src/gen/shardkeep/cache/v1/cache.js';
import {
  PipelineResponse,
  PipelineServiceService,
  type PipelineRequest,
} from '../../src/gen/shardkeep/pipeline/v1/pipeline.js';
import { pythonWith } from '../support/python.js';
import { startRedis, until } from '../support/redis-server.js';
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

/** What the scenario `load` saw. */
interface Load {
  readonly answered: number;
  readonly unknown: number;
  readonly other: readonly string[];
}

/** Where a service can be started more than once. */
function socket(): string {
  return `unix:${join(tmpdir(), `sk-${randomUUID().slice(0, 8)}.sock`)}`;
}

async function listen(server: Server): Promise<string> {
  const bind = promisify<string, ServerCredentials, number>(server.bindAsync.bind(server));
  return `127.0.0.1:${String(await bind('127.0.0.1:0', ServerCredentials.createInsecure()))}`;
}

interface Program {
  readonly child: ChildProcessWithoutNullStreams;
  /** The next line of its output. */
  line(): Promise<string>;
  /** Its last line, as what it saw. */
  result(): Promise<unknown>;
}

function start(address: string, scenario: string): Program {
  const child = spawn(python ?? '', ['test/examples/pipeline_check.py', address, scenario], {
    env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1', PYTHONPATH: `${generated}:examples/python` },
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
      expect(complaints).toBe('');
      return seen;
    },
  };
}

withPython('calls of one turn are answered each with its own, large ones and failures too', async () => {
  const service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone'), MAX_STREAM_CALLS: '100' });
  expect(await start(service.address, 'calls').result()).toEqual({
    ...{ large: 'OK', stored: 400_000, distinct: 2_000, mixedUp: 0, largeSets: ['OK'] },
    ...{ missing: false, badMethod: 'UNIMPLEMENTED' },
  });
  await service.stop();
});

withPython('answers and failures are those of the same calls alone', async () => {
  const service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
  const { pipeline, unary } = (await start(service.address, 'same').result()) as Record<string, unknown[]>;
  expect(pipeline).toEqual(unary);
  expect(pipeline).toContainEqual(['FAILED_PRECONDITION', expect.stringContaining('WRONG_TYPE')]);
  await service.stop();
});

withPython('a call that waits is overtaken, ends by its deadline or with its task, and makes room', async () => {
  const state = await startRedis();
  const urls = {
    CACHE_REDIS_URL: sharedRedisUrl('standalone'),
    STATE_REDIS_URL: state.url,
    LIMIT_REDIS_URL: state.url,
  };
  const service = await startTestService({ ...urls, MAX_STREAM_CALLS: '2' });
  state.signal('SIGSTOP');
  const program = start(service.address, 'silent');
  expect(await program.line()).toBe('"waiting"');
  state.signal('SIGCONT');
  expect(await program.result()).toEqual({
    late: 'DEADLINE_EXCEEDED',
    heldBack: true,
    order: ['get', 'lock'],
    cancelled: true,
  });
  await service.stop();
  await state.remove();
});

withPython('while a drained service works on its last call, its successor takes the next ones', async () => {
  const state = await startRedis();
  const env = {
    ...{ CACHE_REDIS_URL: sharedRedisUrl('standalone'), STATE_REDIS_URL: state.url, LIMIT_REDIS_URL: state.url },
    ...{ GRPC_LISTEN: socket(), NAMESPACE: randomNamespace() },
  };
  const first = await startServiceProcess(env);
  state.signal('SIGSTOP');
  const program = start(env.GRPC_LISTEN, 'replaced');
  expect(await program.line()).toBe('"waiting"');
  first.signal('SIGTERM');
  await first.log('draining');
  await startServiceProcess(env, { until: 'listening' });
  program.child.stdin.write('\n');
  expect(await program.line()).toBe('"served"');
  state.signal('SIGCONT');
  expect(await program.result()).toBe('OK');
  expect((await first.exited).code).toBe(0);
  await state.remove();
});

/** Ends a service in the middle of increments and starts another; what the client saw, and what was counted. */
async function restartUnderLoad(signal: NodeJS.Signals): Promise<Load & { readonly counted: number }> {
  const redis = await startRedis();
  const env = { REDIS_URL: redis.url, GRPC_LISTEN: socket(), NAMESPACE: randomNamespace() };
  const count = async (): Promise<number> => Number(await redis.command('GET', `${env.NAMESPACE}:cache:{load}`));
  const first = await startServiceProcess(env);
  const program = start(env.GRPC_LISTEN, 'load');
  await until(async () => (await count()) > 300);
  await first.stop(signal);
  await startServiceProcess(env);
  const before = await count();
  await until(async () => (await count()) > before + 300);
  program.child.stdin.write('\n');
  const seen = { ...((await program.result()) as Load), counted: await count() };
  await killServiceProcesses();
  await redis.remove();
  return seen;
}

withPython('a service that is drained under load counts each answered call once, and none is lost', async () => {
  const { answered, unknown, other, counted } = await restartUnderLoad('SIGTERM');
  expect({ counted, unknown }).toEqual({ counted: answered, unknown: 0 });
  expect(['', 'UNAVAILABLE']).toContain(other.join());
});

withPython(
  'a service that is killed under load counts each answered call, and perhaps those it did not answer',
  async () => {
    const { answered, unknown, other, counted } = await restartUnderLoad('SIGKILL');
    expect(counted).toBeGreaterThanOrEqual(answered);
    expect(counted).toBeLessThanOrEqual(answered + unknown);
    expect(['', 'UNAVAILABLE']).toContain(other.join());
  },
);

withPython('a service without the pipeline gets unary calls', async () => {
  const server = new Server();
  const { get } = CacheServiceService;
  server.addService(
    { get },
    {
      get: (_: unknown, callback: (error: null, response: unknown) => void) => {
        callback(null, {
          entry: { value: Buffer.from('old'), createdAtMs: 1n, version: 2n, ttlMs: undefined, tags: [] },
        });
      },
    },
  );
  const address = await listen(server);
  expect(await start(address, 'old').result()).toEqual(['old', 'old', 'old']);
  server.forceShutdown();
});

withPython('a call that was not started is sent again, and one that was lost is not', async () => {
  const server = new Server();
  const streams: { readonly ids: number[]; halfClosed: boolean }[] = [];
  const limits = { maxCallsInFlight: 8, maxRequestBytes: 1_024, maxFrameBytes: 65_536 };
  const info = ErrorInfo.encode(ErrorInfo.fromPartial({ reason: 'DRAINING' })).finish();
  const details = [{ typeUrl: 'type.googleapis.com/google.rpc.ErrorInfo', value: Buffer.from(info) }];
  const refused = { code: Code.UNAVAILABLE, message: '', details };
  server.addService(PipelineServiceService, {
    pipeline: (stream: ServerDuplexStream<PipelineRequest, PipelineResponse>) => {
      const seen = { ids: [] as number[], halfClosed: false };
      const place = streams.push(seen);
      stream.write(PipelineResponse.fromPartial({ limits }));
      stream.on('end', () => {
        seen.halfClosed = true;
        stream.end();
      });
      stream.on('data', ({ calls }: PipelineRequest) => {
        seen.ids.push(...calls.map(({ id }) => id));
        for (const { id } of calls) {
          if (place === 1) {
            const answers = [{ id, outcome: { $case: 'failure', value: refused } as const }];
            stream.write(PipelineResponse.fromPartial({ answers, draining: true }));
          } else if (place === 2) {
            stream.emit('error', { code: Code.UNAVAILABLE });
          } else {
            const answers = [{ id, outcome: { $case: 'response', value: Buffer.alloc(0) } as const }];
            stream.write(PipelineResponse.fromPartial({ answers }));
          }
        }
      });
    },
  });
  const program = start(await listen(server), 'scripted');
  expect(await program.result()).toEqual(['UNAVAILABLE OUTCOME_UNKNOWN', 'OK']);
  expect(streams.map(({ ids }) => ids.length)).toEqual([1, 1, 1]);
  expect(streams.map(({ halfClosed }) => halfClosed)).toEqual([true, false, true]);
  server.forceShutdown();
});
