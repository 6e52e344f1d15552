import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { createServer, type ListenOptions, type Server as NetServer, type Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import type { Logger } from 'pino';
import { ListenError } from '../config/config.js';
import { isSocket, unixSocketAnswers } from '../redis/unix-socket.js';
import type { Rejections } from './rejections.js';
import type { ServerCertificates } from './server-certificates.js';

export interface ListenerOptions {
  /** The setting that says where. */
  readonly setting: string;
  /** `host:port` or `unix:/path`. */
  readonly listen: string;
  /** Undefined: plaintext. */
  readonly certificates: ServerCertificates | undefined;
  readonly maxConnections: number;
  /** Which one is closed when there is one more. */
  readonly whenFull: 'newest' | 'oldest';
  readonly rejections: Rejections;
  /** What is to be served on a connection; with TLS, once its handshake is done. */
  readonly onConnection: (socket: Socket) => void;
  readonly logger: Logger;
}

const BACKLOG = 1_024;

/** Takes connections on every address of a name, in plaintext or with TLS, and no more than may be open. */
export class Listener {
  private readonly servers: NetServer[] = [];
  private readonly sockets = new Set<Socket>();

  constructor(private readonly options: ListenerOptions) {}

  /** Answers the address, with the port that was chosen for port 0. Throws ListenError. */
  async start(): Promise<string> {
    const { setting, listen } = this.options;
    try {
      if (!listen.startsWith('unix:')) return await this.startTcp(listen);
      const path = listen.replace(/^unix:(?:\/\/)?/, '');
      await removeStaleSocket(path);
      await this.bind({ path });
      return listen;
    } catch (error) {
      throw new ListenError(setting, listen, error instanceof Error ? error : new Error(String(error)));
    }
  }

  /** Takes no more connections; those that are open stay. */
  close(): void {
    for (const server of this.servers) server.close();
  }

  /** Ends all connections as they are. */
  destroy(): void {
    this.close();
    for (const socket of this.sockets) socket.destroy();
  }

  private async startTcp(listen: string): Promise<string> {
    const colon = listen.lastIndexOf(':');
    const name = listen.slice(0, colon);
    const addresses = await lookup(name.replace(/^\[|\]$/g, ''), { all: true });
    let port = Number(listen.slice(colon + 1));
    let failure = new Error(`${name} has no address`);
    let isBound = false;
    // a machine may have no IPv6 and call itself ::1 all the same
    for (const { address } of addresses) {
      try {
        port = await this.bind({ host: address, port });
        isBound = true;
      } catch (error) {
        if (error instanceof Error) failure = error;
      }
    }
    if (!isBound) throw failure;
    return `${name}:${String(port)}`;
  }

  /** Answers the port; 0 for a unix socket. */
  private async bind(where: ListenOptions): Promise<number> {
    const server = this.createServer();
    server.listen({ ...where, backlog: BACKLOG });
    await once(server, 'listening');
    this.servers.push(server);
    server.on('error', (error) => {
      // such as no file descriptors left; the next connection may find some
      this.options.logger.error({ err: error }, 'cannot take a connection');
    });
    const bound = server.address();
    return bound === null || typeof bound === 'string' ? 0 : bound.port;
  }

  private createServer(): NetServer {
    const { certificates, onConnection, rejections, logger } = this.options;
    // HTTP/2 frames are small and each is meant to leave
    const server = certificates === undefined ? createServer({ noDelay: true }) : createTls(certificates);
    // before TLS has it: one too many costs no handshake
    server.prependListener('connection', (socket: Socket) => {
      this.count(socket);
    });
    if (certificates === undefined) {
      server.on('connection', (socket: Socket) => {
        if (!socket.destroyed) onConnection(socket);
      });
      return server;
    }
    server.on('secureConnection', (socket: TLSSocket) => {
      // a certificate may be left away where it is optional, but none that is shown may be bad
      if (!socket.authorized && socket.getPeerX509Certificate() !== undefined) {
        rejections.count('tls');
        socket.destroy();
      } else onConnection(socket);
    });
    server.on('tlsClientError', (error: Error) => {
      rejections.count('tls');
      logger.debug({ reason: error.message }, 'no TLS with a client');
    });
    return server;
  }

  private count(socket: Socket): void {
    const { maxConnections, whenFull, rejections } = this.options;
    // errors of sockets end them; there is nothing else to do about one
    socket.on('error', () => undefined);
    if (this.sockets.size >= maxConnections) {
      rejections.count('connections');
      if (whenFull === 'newest') {
        socket.destroy();
        return;
      }
      this.closeOldest();
    }
    this.sockets.add(socket);
    socket.once('close', () => this.sockets.delete(socket));
  }

  private closeOldest(): void {
    const [oldest] = this.sockets;
    if (oldest === undefined) return;
    this.sockets.delete(oldest);
    oldest.destroy();
  }
}

function createTls(certificates: ServerCertificates): NetServer {
  const server = createTlsServer({ ...certificates.serverOptions, noDelay: true });
  certificates.onChange((context) => {
    server.setSecureContext(context);
  });
  return server;
}

/** A socket file that a killed process left behind keeps the next one from listening; one that answers is in use. */
async function removeStaleSocket(path: string): Promise<void> {
  if (isSocket(path) && !(await unixSocketAnswers(path))) await rm(path, { force: true });
}
