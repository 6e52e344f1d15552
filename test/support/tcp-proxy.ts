import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

/** A proxy in front of a server of this machine that holds back what the server says, for as long as a test wants. */
export interface TcpProxy {
  readonly port: number;
  /** From now on nothing that the server says passes on connections whose client has said this; all that comes is kept. */
  hold(saidByClient: string): void;
  /** Resolves when that many bytes are held back. */
  held(bytes: number): Promise<void>;
  /** Resolves when a connection has this held back. */
  holds(saidByServer: string): Promise<void>;
  /** Passes on what was held, in one piece a connection, and all that comes. */
  release(): void;
  /** Breaks the connections whose client has said this; what is held back for them is lost. */
  cut(saidByClient: string): void;
  close(): Promise<void>;
}

/** Ends each of two connections with the other. */
export function closeTogether(client: Socket, server: Socket, onClosed: () => void): void {
  for (const [socket, other] of [
    [client, server],
    [server, client],
  ] as const) {
    socket
      .on('error', () => undefined)
      .on('close', () => {
        other.destroy();
        onClosed();
      });
  }
}

/** Lets it listen on a free port of this machine, and answers which. */
export async function portOf(listener: Server): Promise<number> {
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const address = listener.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

interface Connection {
  readonly client: Socket;
  readonly server: Socket;
  said: string;
  kept: Buffer[];
}

export async function startTcpProxy(
  serverPort: number,
  /** What a client said in one piece. */
  onSaid: (piece: string) => void = () => undefined,
): Promise<TcpProxy> {
  const connections = new Set<Connection>();
  let holding: string | undefined;
  let onHeld = (): void => undefined;
  const untilHeld = (condition: () => boolean): Promise<void> =>
    new Promise((resolve) => {
      onHeld = () => {
        if (condition()) resolve();
      };
      onHeld();
    });
  const heldBytes = (): number =>
    [...connections].reduce((sum, { kept }) => sum + kept.reduce((bytes, { length }) => bytes + length, 0), 0);

  const listener = createServer((client) => {
    const connection = { client, server: connect(serverPort, '127.0.0.1'), said: '', kept: [] as Buffer[] };
    const { server } = connection;
    connections.add(connection);
    client.on('data', (chunk) => {
      const piece = chunk.toString('latin1');
      connection.said += piece;
      onSaid(piece);
      server.write(chunk);
    });
    server.on('data', (chunk) => {
      if (holding !== undefined && connection.said.includes(holding)) {
        connection.kept.push(chunk);
        onHeld();
      } else client.write(chunk);
    });
    closeTogether(client, server, () => connections.delete(connection));
  });
  return {
    port: await portOf(listener),
    hold: (saidByClient) => {
      holding = saidByClient;
    },
    held: (bytes) => untilHeld(() => heldBytes() >= bytes),
    holds: (saidByServer) =>
      untilHeld(() => [...connections].some(({ kept }) => Buffer.concat(kept).includes(saidByServer))),
    release: () => {
      holding = undefined;
      for (const connection of connections) {
        const { client, kept } = connection;
        connection.kept = [];
        if (kept.length > 0) client.write(Buffer.concat(kept));
      }
    },
    cut: (saidByClient) => {
      for (const { client, server, said } of connections) {
        if (!said.includes(saidByClient)) continue;
        client.destroy();
        server.destroy();
      }
    },
    close: async () => {
      for (const { client, server } of connections) {
        client.destroy();
        server.destroy();
      }
      listener.close();
      await once(listener, 'close');
    },
  };
}
