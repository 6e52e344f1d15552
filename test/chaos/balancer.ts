import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { closeTogether, portOf } from '../support/tcp-proxy.js';

/** Gives connections to one of several servers in turn, as a Service of Kubernetes does. */
export class Balancer {
  private readonly ports = new Set<number>();
  private readonly open = new Set<Socket>();
  private turn = 0;
  private readonly listener: Server;
  private port = 0;

  private constructor() {
    this.listener = createServer((client) => {
      this.accept(client);
    });
  }

  static async start(): Promise<Balancer> {
    const balancer = new Balancer();
    balancer.port = await portOf(balancer.listener);
    return balancer;
  }

  get address(): string {
    return `127.0.0.1:${String(this.port)}`;
  }

  add(port: number): void {
    this.ports.add(port);
  }

  /** New connections go elsewhere; those that are open stay. */
  remove(port: number): void {
    this.ports.delete(port);
  }

  async close(): Promise<void> {
    for (const socket of this.open) socket.destroy();
    this.listener.close();
    await once(this.listener, 'close');
  }

  private accept(client: Socket): void {
    const ports = [...this.ports];
    const port = ports[this.turn++ % ports.length];
    if (port === undefined) {
      client.destroy();
      return;
    }
    const server = connect(port, '127.0.0.1');
    this.open.add(client);
    client.pipe(server);
    server.pipe(client);
    closeTogether(client, server, () => this.open.delete(client));
  }
}
