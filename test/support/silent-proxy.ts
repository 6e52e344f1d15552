import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { portOf } from './tcp-proxy.js';

/** A proxy in front of a server of this machine, as a network that fails without a word. */
export interface SilentProxy {
  readonly port: number;
  /** From now on nothing passes in these directions; no connection breaks, and what is said is lost. */
  silence(direction: 'to_server' | 'to_client' | 'both'): void;
  /** Ends the connections to the server alone: the clients do not notice. */
  cutServer(): void;
  /** Breaks all connections, for both sides; new ones pass. */
  breakAll(): void;
  /** From now on nothing passes; what is said arrives when it goes on. */
  pause(): void;
  resume(): void;
  close(): Promise<void>;
}

export async function startSilentProxy(
  serverPort: number,
  /** A client connected. */
  onConnection: () => void = () => undefined,
): Promise<SilentProxy> {
  const pairs = new Set<{ readonly client: Socket; readonly server: Socket }>();
  let isSilent = { toServer: false, toClient: false };
  const listener = createServer((client) => {
    onConnection();
    const server = connect(serverPort, '127.0.0.1');
    const pair = { client, server };
    pairs.add(pair);
    client.on('data', (chunk) => {
      if (!isSilent.toServer) server.write(chunk);
    });
    server.on('data', (chunk) => {
      if (!isSilent.toClient) client.write(chunk);
    });
    for (const socket of [client, server]) socket.on('error', () => undefined);
    client.on('close', () => {
      server.destroy();
      pairs.delete(pair);
    });
    server.on('close', () => {
      if (!isSilent.toClient) client.destroy();
    });
  });
  const silence: SilentProxy['silence'] = (direction) => {
    isSilent = { toServer: direction !== 'to_client', toClient: direction !== 'to_server' };
  };
  return {
    port: await portOf(listener),
    silence,
    cutServer: () => {
      silence('both');
      for (const { server } of pairs) server.destroy();
    },
    breakAll: () => {
      for (const { client, server } of pairs) {
        client.destroy();
        server.destroy();
      }
    },
    pause: () => {
      for (const { client, server } of pairs) {
        client.pause();
        server.pause();
      }
    },
    resume: () => {
      for (const { client, server } of pairs) {
        client.resume();
        server.resume();
      }
    },
    close: async () => {
      for (const { client, server } of pairs) {
        client.destroy();
        server.destroy();
      }
      listener.close();
      await once(listener, 'close');
    },
  };
}
