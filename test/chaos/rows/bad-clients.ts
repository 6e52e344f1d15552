import { connect as connectHttp2, constants, type ClientHttp2Session } from 'node:http2';
import { connect as connectTcp } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { GetRequest } from '../../../src/gen/shardkeep/cache/v1/cache.js';
import { DeadlineExceededError, ResourceExhaustedError, UnavailableError } from '../../../src/client/index.js';
import type { Row } from '../row.js';
import type { World } from '../world.js';

const SLOW_MS = 6_000;
const SILENT_SOCKETS = 200;
const DEAF_SESSIONS = 10;
const CALLS_EACH = 20;
const BYTE_EVERY_MS = 1_000;
const VALUE_BYTES = 65_536;
const FLOOD_CALLS = 10_000;
const PROBE_EVERY_MS = 200;
const PROBE_MS = 5_000;
/** What a connection begins with, of which a slow client sends a byte a second. */
const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';

const strict = { onReadError: 'throw', onWriteError: 'throw', circuit: { failures: 1_000_000 } } as const;

/** F18 and F19: clients that do not read, hardly write, or ask for too much. */
export const badClients: readonly Row[] = [
  {
    id: 'F18-slow',
    what: `${String(SILENT_SOCKETS)} connections that send a byte a second, ${String(DEAF_SESSIONS)} that ask for ${String(CALLS_EACH)} values of 64 KiB and never read`,
    setup: { servicesLive: true },
    expect: { mayFailWith: [], recoveryMs: 0 },
    inject: async (world) => {
      const value = 'x'.repeat(VALUE_BYTES);
      const cache = world.client(0, { cache: strict }).cache.with({ compressAboveBytes: Infinity });
      await cache.set('deaf', value, { ttlMs: 60_000 });
      world.begin('slow clients');
      const sockets = Array.from({ length: SILENT_SOCKETS }, (_, index) => slowSocket(world, index));
      const sessions = Array.from({ length: DEAF_SESSIONS }, (_, index) => deafSession(world, index));
      await sleep(SLOW_MS);
      for (const end of sockets) end();
      for (const session of sessions) session.destroy();
      world.end('slow clients');
    },
  },
  ...[1, 100].map((connections): Row => flood(connections)),
];

function flood(connections: number): Row {
  return {
    id: `F19-flood-${String(connections)}`,
    what: `${String(FLOOD_CALLS)} calls at once on ${String(connections)} connections, 3 times`,
    setup: { servicesLive: true },
    expect: { mayFailWith: ['RESOURCE_EXHAUSTED', 'UNAVAILABLE', 'DEADLINE_EXCEEDED'] },
    inject: async (world) => {
      const clients = Array.from({ length: connections }, () =>
        world.client(0, { timeoutMs: 10_000, retry: { maxAttempts: 1 }, cache: strict }),
      );
      const probe = probing(world);
      world.begin('a flood');
      let answered = 0;
      let shed = 0;
      const strange: unknown[] = [];
      for (let wave = 0; wave < 3; wave++) {
        const calls = Array.from({ length: FLOOD_CALLS }, async (_, index) =>
          clients[index % connections]?.cache.get('flood').then(
            () => answered++,
            (error: unknown) => {
              if (error instanceof ResourceExhaustedError) shed++;
              else if (!(error instanceof DeadlineExceededError || error instanceof UnavailableError))
                strange.push(error);
            },
          ),
        );
        await Promise.all(calls);
      }
      world.end('a flood');
      const { worstMs, failed } = await probe.stop();
      world.claim('what is not answered is refused', strange.length === 0);
      world.claim('liveness stays SERVING', failed === 0);
      world.figure('of the flood answered', answered);
      world.figure('refused', shed);
      world.figure('slowest liveness probe', `${worstMs.toFixed(0)} ms`);
    },
  };
}

/** Asks for liveness as an orchestrator does, on a connection of its own. */
function probing(world: World): { stop: () => Promise<{ readonly worstMs: number; readonly failed: number }> } {
  const { health } = world.client(0, { retry: { maxAttempts: 1 } });
  let stopped = false;
  let worstMs = 0;
  let failed = 0;
  const run = async (): Promise<void> => {
    while (!stopped) {
      const startMs = performance.now();
      const status = await health.check('liveness', { timeoutMs: PROBE_MS }).catch(() => 'failed');
      if (status !== 'serving') failed++;
      worstMs = Math.max(worstMs, performance.now() - startMs);
      await sleep(PROBE_EVERY_MS);
    }
  };
  const running = run();
  return {
    stop: async () => {
      stopped = true;
      await running;
      return { worstMs, failed };
    },
  };
}

function portOf(world: World, index: number): number {
  return world.services[index % world.services.length]?.port ?? 0;
}

function slowSocket(world: World, index: number): () => void {
  const socket = connectTcp(portOf(world, index), '127.0.0.1');
  socket.on('error', () => undefined);
  let sent = 0;
  const timer = setInterval(() => {
    socket.write(PREFACE.charAt(sent++ % PREFACE.length));
  }, BYTE_EVERY_MS);
  return () => {
    clearInterval(timer);
    socket.destroy();
  };
}

/** Its streams' windows fill up and nobody empties them. */
function deafSession(world: World, index: number): ClientHttp2Session {
  const session = connectHttp2(`http://127.0.0.1:${String(portOf(world, index))}`);
  session.on('error', () => undefined);
  const message = GetRequest.encode(GetRequest.fromPartial({ key: 'deaf' })).finish();
  const frame = Buffer.concat([Buffer.from([0, 0, 0, 0, message.length]), message]);
  for (let call = 0; call < CALLS_EACH; call++) {
    const stream = session.request({
      [constants.HTTP2_HEADER_METHOD]: 'POST',
      [constants.HTTP2_HEADER_PATH]: '/shardkeep.cache.v1.CacheService/Get',
      [constants.HTTP2_HEADER_CONTENT_TYPE]: 'application/grpc',
      te: 'trailers',
    });
    stream.on('error', () => undefined);
    stream.pause();
    stream.end(frame);
  }
  return session;
}
