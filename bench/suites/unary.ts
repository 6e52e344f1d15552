import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { GetRequest, SetRequest } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { cacheKey, valueOf } from '../programs/fixtures.js';
import { callRaw, frame } from '../harness/grpc-call.js';
import { findH2load, H2LOAD_MISSING, runH2load } from '../harness/h2load.js';
import { readCpuUs, readEndedChildrenCpuUs } from '../harness/process-cpu.js';
import { startEchoServer } from '../harness/programs.js';
import { interleave } from '../harness/rounds.js';
import { LatencyHistogram } from '../harness/latency-histogram.js';
import type { Sample } from '../harness/sample.js';
import { rates, sampleTable } from '../harness/sample-table.js';
import { atLeast, skipped } from '../harness/section.js';
import { startService, startStandalone } from '../harness/servers.js';
import { ratio } from '../harness/statistics.js';
import type { Suite } from '../harness/suite.js';

const TITLE = 'Unary calls: what the layers cost';
const GOAL = 0.9;
const VALUE_BYTES = 200;
const CONNECTIONS = 4;
const IN_FLIGHT_EACH = 32;
const GET = '/shardkeep.cache.v1.CacheService/Get';
const SET = '/shardkeep.cache.v1.CacheService/Set';
/** About how many calls a server answers in a second; sizes the runs of h2load, which counts calls and not time. */
const CALLS_A_SECOND = 8_000;

export const unary: Suite = {
  name: 'unary',
  run: async ({ scope, pace }) => {
    const binary = findH2load();
    if (binary === undefined) return skipped(TITLE, H2LOAD_MISSING);
    const redis = await startStandalone(scope);
    const service = await startService(scope, { redis, listen: '127.0.0.1:0' });
    const origin = `http://${service.address}`;
    const key = cacheKey(0);
    const value = valueOf(VALUE_BYTES);
    const written = await callRaw(
      origin,
      SET,
      frame(SetRequest.encode(SetRequest.fromPartial({ key, value })).finish()),
    );
    if (written.grpcStatus !== '0') throw new Error(`Set answered grpc-status ${written.grpcStatus}`);
    const body = frame(GetRequest.encode(GetRequest.fromPartial({ key })).finish());
    const answer = await callRaw(origin, GET, body);
    const echo = await startEchoServer(scope, {
      address: '127.0.0.1:0',
      answer: answer.body.subarray(5).toString('base64'),
    });
    const bodyFile = join(await scope.folder(), 'get.bin');
    await writeFile(bodyFile, body);

    const sample = async (address: string, servicePid: number, redisPids: readonly number[]): Promise<Sample> => {
      const run = (calls: number) =>
        runH2load({
          binary,
          url: `http://${address}${GET}`,
          bodyFile,
          calls,
          connections: CONNECTIONS,
          inFlightEach: IN_FLIGHT_EACH,
        });
      await run(Math.round((CALLS_A_SECOND * pace.warmUpMs) / 1_000));
      const calls = Math.round((CALLS_A_SECOND * pace.measureMs) / 1_000);
      const readAllUs = () => ({
        client: readEndedChildrenCpuUs(),
        service: readCpuUs(servicePid),
        redis: redisPids.reduce((sum, pid) => sum + readCpuUs(pid), 0),
      });
      const before = readAllUs();
      const { ratePerSecond, dataBytes } = await run(calls);
      const after = readAllUs();
      await verify(`http://${address}`, body, { calls, dataBytes, valueBytes: VALUE_BYTES });
      return {
        ratePerSecond,
        cpuUs: {
          client: (after.client - before.client) / calls,
          service: (after.service - before.service) / calls,
          ...(redisPids.length === 0 ? {} : { redis: (after.redis - before.redis) / calls }),
        },
        latencies: new LatencyHistogram(),
      };
    };
    const samples = await interleave(pace.rounds, {
      service: () => sample(service.address, service.pid, redis.pids),
      echo: () => sample(echo.address, echo.pid, []),
    });
    const baseline = { name: 'echo', samples: samples.echo };
    return {
      title: TITLE,
      notes: [
        `Unary Get of a ${VALUE_BYTES}-byte value with every layer on (admission, validation, deadline, Redis over a unix ` +
          'socket), against an empty grpc-js server with the same options that answers the same bytes. Load: h2load, ' +
          `${CONNECTIONS} connections with ${IN_FLIGHT_EACH} calls in flight each, over TCP; it is the client of the table.`,
        'After every run one more call is looked at: grpc-status 0 and the value; and the bytes h2load counted are those ' +
          'of so many whole answers.',
      ],
      goals: [
        atLeast('rate of Get ÷ rate of the empty echo', GOAL, ratio(rates(samples.service), rates(samples.echo))),
      ],
      tables: [
        sampleTable('Get and echo', [
          { name: 'shardkeep Get', samples: samples.service, baseline },
          { name: 'empty grpc-js echo', samples: samples.echo },
        ]),
      ],
      plots: [],
    };
  },
};

interface Counted {
  readonly calls: number;
  readonly dataBytes: number;
  readonly valueBytes: number;
}

/** h2load takes an error of gRPC for a success: it is HTTP's 200 without a message. */
async function verify(origin: string, body: Buffer, { calls, dataBytes, valueBytes }: Counted): Promise<void> {
  const answer = await callRaw(origin, GET, body);
  if (answer.grpcStatus !== '0' || answer.body.length < valueBytes) {
    throw new Error(`Get answered grpc-status ${answer.grpcStatus} with ${answer.body.length} bytes`);
  }
  // an answer's TTL takes a byte less as it runs down
  const leastBytes = calls * (answer.body.length - 4);
  if (dataBytes < leastBytes) throw new Error(`${calls} answers had ${dataBytes} bytes: some carried no value`);
}
