import { once } from 'node:events';
import { createServer } from 'node:http';
import { ListenError } from '../config/config.js';

export interface AdminServer {
  /** With the port that was chosen for port 0. */
  readonly address: string;
  close(): Promise<void>;
}

/** Serves GET /metrics in Prometheus' text format at `host:port`; throws ListenError. */
export async function startAdminServer(listen: string, metrics: () => Promise<string>): Promise<AdminServer> {
  const server = createServer((request, response) => {
    if (request.method !== 'GET' || request.url !== '/metrics') {
      response.writeHead(404).end();
      return;
    }
    metrics().then(
      (text) => {
        response.writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }).end(text);
      },
      () => {
        response.writeHead(500).end();
      },
    );
  });
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

function splitPort(listen: string): [host: string, port: string] {
  const colon = listen.lastIndexOf(':');
  return [listen.slice(0, colon), listen.slice(colon + 1)];
}
