import { readFileSync } from 'node:fs';
import { connect as connectHttp2, constants, type ClientHttp2Session } from 'node:http2';
import { connect as connectTcp, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { GetRequest } from '../../../src/gen/shardkeep/cache/v1/cache.js';
import { DeadlineExceededError, ResourceExhaustedError, UnavailableError } from '../../../src/client/index.js';
import { DEFAULTS } from '../../../src/config/defaults.js';
import { until } from '../../support/redis-server.js';
import { LivenessProbe } from '../liveness-probe.js';
import type { ProbeNews } from '../load/settings.js';
import type { Row } from '../row.js';
import type { World } from '../world.js';

const SLOW_MS = 6_000;
const SILENT_SOCKETS = 200;
const DEAF_SESSIONS = 10;
const CALLS_EACH = 20;
const BYTE_EVERY_MS = 1_000;
const VALUE_BYTES = 65_536;
const FLOOD_CALLS = 10_000;
const FLOOD_MS = 3_000;
const CONNECTIONS = 10_000;
/** As many files as one process must be able to have open. */
const FILES = CONNECTIONS + 1_000;
const STAY_MS = 3_000;
const FLOODED = 0;
/** What a connection begins with, of which a slow client sends a byte a second. */
const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
/** The frame that comes behind it: SETTINGS without any. */
const NO_SETTINGS = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
const OTHERS = 50;

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
  {
    id: 'F19-connections',
    what: `${String(CONNECTIONS)} connections to one service, open for 3 s`,
    setup: { servicesLive: true, healthListener: true },
    // callers have theirs
    expect: { mayFailWith: [], recoveryMs: 0 },
    skip: () => (mayOpen() < FILES ? `a process may open ${String(mayOpen())} files` : undefined),
    inject: async (world) => {
      const probe = await probing(world);
      world.begin('connections');
      const sockets = Array.from({ length: CONNECTIONS }, () => heldOpen(world));
      const taken = (): number => sockets.filter(({ bytesRead, destroyed }) => bytesRead > 0 && !destroyed).length;
      const refused = (): number => sockets.filter(({ destroyed }) => destroyed).length;
      await until(() => taken() + refused() === CONNECTIONS);
      await sleep(STAY_MS);
      world.figure('connections served', taken());
      world.figure('closed unread', refused());
      world.claim(
        'as many are served as may be, with those of the callers',
        isWithin(taken(), DEFAULTS.maxConnections),
      );
      for (const socket of sockets) socket.destroy();
      world.end('connections');
      claimLiveness(world, await probe.stop());
    },
  },
];

function flood(connections: number): Row {
  return {
    id: `F19-flood-${String(connections)}`,
    what: `${String(FLOOD_CALLS)} calls at once on ${String(connections)} connections, again and again for 3 s`,
    setup: { servicesLive: true, healthListener: true },
    expect: { mayFailWith: ['RESOURCE_EXHAUSTED', 'UNAVAILABLE', 'DEADLINE_EXCEEDED'] },
    inject: async (world) => {
      const clients = Array.from({ length: connections }, () =>
        world.client(FLOODED, { timeoutMs: 10_000, retry: { maxAttempts: 1 }, cache: strict }),
      );
      const probe = await probing(world);
      world.begin('a flood');
      let answered = 0;
      let shed = 0;
      const strange: unknown[] = [];
      const untilMs = performance.now() + FLOOD_MS;
      while (performance.now() < untilMs) {
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
      claimLiveness(world, await probe.stop());
      world.claim('what is not answered is refused', strange.length === 0);
      world.figure('of the flood answered', answered);
      world.figure('refused', shed);
    },
  };
}

/** As the manifests have it: health on a listener of its own, which an orchestrator dials. */
async function probing(world: World): Promise<LivenessProbe> {
  const probe = await LivenessProbe.start(world.service(FLOODED).healthAddress);
  world.onEnd(() => {
    probe.kill();
    return Promise.resolve();
  });
  return probe;
}

function claimLiveness(world: World, { probes, failed, worstMs }: ProbeNews): void {
  world.claim('liveness stays SERVING', probes > 0 && failed === 0);
  world.figure('slowest liveness probe', `${worstMs.toFixed(0)} ms of ${String(probes)}`);
}

function portOf(world: World, index: number): number {
  return world.services[index % world.services.length]?.port ?? 0;
}

/** Says hello and nothing more. Without a word it would not be told that nobody took it. */
function heldOpen(world: World): Socket {
  const socket = connectTcp(portOf(world, FLOODED), '127.0.0.1');
  socket.on('error', () => undefined);
  socket.resume();
  socket.write(Buffer.concat([Buffer.from(PREFACE), NO_SETTINGS]));
  return socket;
}

/** Callers of the load and of the row have a few connections. */
function isWithin(taken: number, most: number): boolean {
  return taken <= most && taken > most - OTHERS;
}

/** How many files this process may have open, as Linux tells. */
function mayOpen(): number {
  const limits = readFileSync('/proc/self/limits', 'utf8');
  return Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? 0);
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
