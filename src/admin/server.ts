import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { Socket } from 'node:net';
import { ListenError } from '../config/config.js';
import {
  detailedAnswer,
  liveAnswer,
  overallAnswer,
  readyAnswer,
  redisAnswer,
  type HealthAnswer,
  type ServiceHealth,
} from './health-report.js';
import { shareAnswer } from './shared-answer.js';

export interface AdminServer {
  /** With the port that was chosen for port 0. */
  readonly address: string;
  close(): Promise<void>;
}

export interface AdminSources {
  /** In Prometheus' text format. */
  metrics(): Promise<string>;
  /** `withRedis`: with what each Redis says of itself. */
  health(options: { readonly withRedis: boolean }): Promise<ServiceHealth>;
}

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly text: string;
}

type Route = (sources: AdminSources) => Promise<Answer>;

// what nobody needs for a GET without a body, and what somebody who sends slowly may not keep
const MAX_HEADER_BYTES = 8_192;
const MAX_CONNECTIONS = 128;
const REQUEST_TIMEOUT_MS = 5_000;
const IDLE_TIMEOUT_MS = 10_000;
const CHECK_INTERVAL_MS = 1_000;

const METHODS = 'GET, HEAD';

const ROUTES: ReadonlyMap<string, Route> = new Map([
  ['/health', health(overallAnswer)],
  ['/health/live', health(liveAnswer)],
  ['/health/ready', health(readyAnswer)],
  ['/health/redis', health(redisAnswer, true)],
  ['/health/detailed', health(detailedAnswer, true)],
  [
    '/metrics',
    async (sources) => ({
      status: 200,
      type: 'text/plain; version=0.0.4; charset=utf-8',
      text: await sources.metrics(),
    }),
  ],
]);

function health(answerOf: (service: ServiceHealth) => HealthAnswer, withRedis = false): Route {
  return async (sources) => {
    const { healthy, body } = answerOf(await sources.health({ withRedis }));
    return json(healthy ? 200 : 503, body);
  };
}

function json(status: number, body: Readonly<Record<string, unknown>>): Answer {
  return { status, type: 'application/json; charset=utf-8', text: `${JSON.stringify(body)}\n` };
}

/** Serves health as JSON and metrics as text by plain HTTP at `host:port`; throws ListenError. */
export async function startAdminServer(listen: string, sources: AdminSources): Promise<AdminServer> {
  const server = createAdminServer(shared(sources));
  const [host, port] = splitPort(listen);
  server.listen(Number(port), host.replace(/^\[|\]$/g, ''));
  await once(server, 'listening').catch((error: unknown) => {
    throw new ListenError('ADMIN_LISTEN', listen, error as Error);
  });
  const bound = server.address();
  return {
    address: `${host}:${bound === null || typeof bound === 'string' ? port : String(bound.port)}`,
    close: async () => {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
}

/** A thousand requests in one packet would otherwise keep the event loop from everything else for seconds. */
function shared(sources: AdminSources): AdminSources {
  const metrics = shareAnswer(() => sources.metrics());
  const health = shareAnswer(() => sources.health({ withRedis: false }));
  const healthWithRedis = shareAnswer(() => sources.health({ withRedis: true }));
  return { metrics, health: ({ withRedis }) => (withRedis ? healthWithRedis() : health()) };
}

function createAdminServer(sources: AdminSources): Server {
  const limits = {
    maxHeaderSize: MAX_HEADER_BYTES,
    headersTimeout: REQUEST_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionsCheckingInterval: CHECK_INTERVAL_MS,
  };
  const server = createServer(limits, (request, response) => {
    const { method = '', url = '', headers } = request;
    const hasBody = headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
    void answer(method, url, sources).then(({ status, type, text }) => {
      response.writeHead(status, {
        'content-type': type,
        'content-length': Buffer.byteLength(text),
        'cache-control': 'no-store',
        'x-content-type-options': 'nosniff',
        ...(status === 405 ? { allow: METHODS } : {}),
        // nobody reads the body of a request, and what comes behind it would be taken for the next one
        ...(hasBody ? { connection: 'close' } : {}),
      });
      response.end(method === 'HEAD' ? undefined : text);
    });
  });
  // also for whoever does not read the answer
  server.setTimeout(IDLE_TIMEOUT_MS);
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    // a probe must get in, whoever holds all the others
    const [oldest] = sockets;
    if (oldest !== undefined && sockets.size >= MAX_CONNECTIONS) {
      sockets.delete(oldest);
      oldest.destroy();
    }
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  return server;
}

async function answer(method: string, url: string, sources: AdminSources): Promise<Answer> {
  const route = ROUTES.get(url.split('?', 1)[0] ?? '');
  if (route === undefined) return json(404, { error: 'not found' });
  if (method !== 'GET' && method !== 'HEAD') return json(405, { error: 'only GET and HEAD are answered' });
  try {
    return await route(sources);
  } catch {
    // why is not for whoever asks
    return json(500, { error: 'internal error' });
  }
}

function splitPort(listen: string): [host: string, port: string] {
  const colon = listen.lastIndexOf(':');
  return [listen.slice(0, colon), listen.slice(colon + 1)];
}
