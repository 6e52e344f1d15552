import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { closeTogether, portOf } from './tcp-proxy.js';

/** A proxy in front of a Redis of this machine that lets so many commands through and then no more. */
export interface CountingProxy {
  readonly port: number;
  /** Lets everything through and answers, when the job is done, how many commands it took. */
  count(job: () => Promise<unknown>): Promise<number>;
  /**
   * From now on lets so many commands through, and no answer behind the last of them is sent. Resolves when Redis has run it;
   * what is asked later is lost.
   */
  stopAfter(commands: number): Promise<void>;
  close(): Promise<void>;
}

/** What a service asks by itself, or to find its way. */
const NOT_COUNTED = new Set(['HELLO', 'CLIENT', 'PING', 'TIME', 'INFO', 'SCRIPT', 'SELECT', 'AUTH', 'ZRANGE']);
const MARKER = 'counting-proxy-marker';

export async function startCountingProxy(serverPort: number): Promise<CountingProxy> {
  const connections = new Set<Socket>();
  let counted = 0;
  let allowed = Number.POSITIVE_INFINITY;
  let onRun = (): void => undefined;

  const listener = createServer((client) => {
    const server = connect(serverPort, '127.0.0.1');
    connections.add(client).add(server);
    let unread = Buffer.alloc(0);
    let heard = '';
    client.on('data', (chunk) => {
      unread = Buffer.concat([unread, chunk]);
      for (;;) {
        const command = firstCommand(unread);
        if (command === undefined) return;
        unread = unread.subarray(command.length);
        if (!NOT_COUNTED.has(command.name)) {
          if (counted >= allowed) continue;
          counted++;
        }
        server.write(command.bytes);
        // its answer comes behind those of all commands before it
        if (counted === allowed) server.write(`*2\r\n$4\r\nPING\r\n$${String(MARKER.length)}\r\n${MARKER}\r\n`);
      }
    });
    server.on('data', (chunk) => {
      if (counted < allowed) {
        client.write(chunk);
        return;
      }
      heard += chunk.toString('latin1');
      if (heard.includes(MARKER)) onRun();
    });
    closeTogether(client, server, () => {
      connections.delete(client);
      connections.delete(server);
    });
  });
  return {
    port: await portOf(listener),
    count: async (job) => {
      counted = 0;
      await job();
      return counted;
    },
    stopAfter: (commands) => {
      counted = 0;
      allowed = commands;
      return new Promise((resolve) => {
        onRun = resolve;
      });
    },
    close: async () => {
      for (const socket of connections) socket.destroy();
      listener.close();
      await once(listener, 'close');
    },
  };
}

interface Command {
  readonly name: string;
  readonly bytes: Buffer;
  readonly length: number;
}

/** The first command of a stream of RESP arrays of bulk strings; undefined where it has not all come. */
function firstCommand(stream: Buffer): Command | undefined {
  const count = lengthAt(stream, 0);
  if (count === undefined) return undefined;
  let { end } = count;
  let name = '';
  for (let part = 0; part < count.value; part++) {
    const length = lengthAt(stream, end);
    if (length === undefined || stream.length < length.end + length.value + 2) return undefined;
    if (part === 0) name = stream.toString('latin1', length.end, length.end + length.value).toUpperCase();
    end = length.end + length.value + 2;
  }
  return { name, bytes: Buffer.from(stream.subarray(0, end)), length: end };
}

/** The number of a line such as `*3` or `$12`. */
function lengthAt(stream: Buffer, start: number): { readonly value: number; readonly end: number } | undefined {
  const lineEnd = stream.indexOf('\r\n', start);
  if (lineEnd === -1) return undefined;
  return { value: Number(stream.toString('latin1', start + 1, lineEnd)), end: lineEnd + 2 };
}
