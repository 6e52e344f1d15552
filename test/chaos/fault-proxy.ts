import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { serviceUrl } from '../support/redis-server.js';
import { portOf } from '../support/tcp-proxy.js';

/** What a network does to those who speak through it. */
export type NetworkMode =
  | { readonly kind: 'pass' }
  /** Nothing arrives any more and nobody is told; new connections are taken and hear nothing. */
  | { readonly kind: 'blackhole' }
  /** All connections break, and no new one is taken. */
  | { readonly kind: 'refuse' }
  /** The connections to the server end; the clients are not told, and new ones pass. */
  | { readonly kind: 'half_open' }
  /** Of every answer so many bytes arrive, then the connection breaks; new ones pass until they are answered. */
  | { readonly kind: 'cut_mid_reply'; readonly bytes: number }
  /** Requests arrive, and the connection breaks before the answer. */
  | { readonly kind: 'cut_after_request' }
  /** Each direction takes so long, give or take the jitter. */
  | { readonly kind: 'slow'; readonly delayMs: number; readonly jitterMs: number }
  /** Each direction of each connection carries so many bytes a second. */
  | { readonly kind: 'narrow'; readonly bytesPerSecond: number };

interface Connection {
  readonly client: Socket;
  readonly server: Socket;
  /** Silent for good: what broke stays broken when the network is well again. */
  dead: boolean;
  /** A script was called, and nothing has been answered since. */
  asked: boolean;
}

const CALLS_A_SCRIPT = 'EVALSHA';

/** Which moment of a call of a script: it is on its way to the server, or its answer is on the way back. */
export type Moment = 'asked' | 'answered';

interface Watched {
  readonly moment: Moment;
  readonly act: () => void;
}

/** A proxy in front of a server of this machine, as a network that can be told how to fail. */
export class FaultProxy {
  /** How many connections there were. */
  connections = 0;
  private mode: NetworkMode = { kind: 'pass' };
  private readonly open = new Set<Connection>();
  private watched: Watched | undefined;
  private readonly listener: Server;
  private port = 0;

  private constructor(private serverPort: number) {
    this.listener = createServer((client) => {
      this.accept(client);
    });
  }

  static async start(serverPort: number): Promise<FaultProxy> {
    const proxy = new FaultProxy(serverPort);
    proxy.port = await portOf(proxy.listener);
    return proxy;
  }

  get url(): string {
    return serviceUrl(this.port);
  }

  set(mode: NetworkMode): void {
    this.mode = mode;
    if (mode.kind === 'refuse') this.breakAll();
    if (mode.kind === 'half_open') {
      for (const connection of this.open) {
        connection.dead = true;
        connection.server.destroy();
      }
    }
    // what was lost on the way is not sent again: as behind a firewall that forgot them, these stay silent
    if (mode.kind === 'blackhole') for (const connection of this.open) connection.dead = true;
  }

  /** New connections go elsewhere, as when a name gets another address. */
  moveTo(serverPort: number): void {
    this.serverPort = serverPort;
  }

  /** Acts once at this moment of the next call of a script; answered, when it has. The answer itself goes nowhere. */
  at(moment: Moment, act: () => void): Promise<void> {
    return new Promise((resolve) => {
      this.watched = {
        moment,
        act: () => {
          this.watched = undefined;
          act();
          resolve();
        },
      };
    });
  }

  breakAll(): void {
    for (const { client, server } of this.open) {
      client.destroy();
      server.destroy();
    }
  }

  async close(): Promise<void> {
    this.breakAll();
    this.listener.close();
    await once(this.listener, 'close');
  }

  private accept(client: Socket): void {
    this.connections++;
    client.on('error', () => undefined);
    if (this.mode.kind === 'refuse') {
      client.resetAndDestroy();
      return;
    }
    const server = connect(this.serverPort, '127.0.0.1');
    const connection = { client, server, dead: this.mode.kind === 'blackhole', asked: false };
    this.open.add(connection);
    const toServer = new Pipe(connection, server);
    const toClient = new Pipe(connection, client);
    client.on('data', (chunk) => {
      toServer.carry(chunk, this.mode);
      this.passed(connection, chunk);
    });
    server.on('data', (chunk) => {
      this.reply(connection, toClient, chunk);
    });
    server.on('error', () => undefined);
    client.on('close', () => {
      server.destroy();
      this.open.delete(connection);
    });
    server.on('close', () => {
      if (!connection.dead) client.destroy();
    });
  }

  private passed(connection: Connection, chunk: Buffer): void {
    if (this.watched === undefined || !chunk.includes(CALLS_A_SCRIPT)) return;
    if (this.watched.moment === 'asked') this.watched.act();
    else connection.asked = true;
  }

  private reply(connection: Connection, pipe: Pipe, chunk: Buffer): void {
    const { mode, watched } = this;
    if (watched !== undefined && connection.asked) {
      connection.dead = true;
      watched.act();
    } else if (mode.kind === 'cut_after_request') {
      connection.client.destroy();
    } else if (mode.kind === 'cut_mid_reply') {
      if (!connection.dead) connection.client.end(chunk.subarray(0, mode.bytes));
      connection.dead = true;
      connection.server.destroy();
    } else {
      pipe.carry(chunk, mode);
    }
  }
}

/** One direction of a connection. Chunks wait in a queue: timers that are due together do not keep their order. */
class Pipe {
  private readonly waiting: { readonly chunk: Buffer; readonly atMs: number }[] = [];
  private freeAtMs = 0;
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly connection: Connection,
    private readonly to: Socket,
  ) {}

  carry(chunk: Buffer, mode: NetworkMode): void {
    if (this.connection.dead) return;
    const nowMs = performance.now();
    let atMs = nowMs;
    if (mode.kind === 'slow') atMs += mode.delayMs + (Math.random() * 2 - 1) * mode.jitterMs;
    if (mode.kind === 'narrow') atMs = Math.max(nowMs, this.freeAtMs) + (chunk.length / mode.bytesPerSecond) * 1_000;
    this.freeAtMs = Math.max(atMs, this.freeAtMs);
    this.waiting.push({ chunk, atMs: this.freeAtMs });
    if (this.timer === undefined) this.deliver();
  }

  private readonly deliver = (): void => {
    this.timer = undefined;
    const nowMs = performance.now();
    while (this.waiting[0] !== undefined && this.waiting[0].atMs <= nowMs) {
      const next = this.waiting.shift();
      if (next !== undefined && !this.connection.dead) this.to.write(next.chunk);
    }
    const [next] = this.waiting;
    if (next !== undefined) this.timer = setTimeout(this.deliver, Math.ceil(next.atMs - nowMs));
  };
}
