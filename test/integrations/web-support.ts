import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import { afterEach } from '@jest/globals';
import { connect, type ConnectOptions, type Logger, type ShardkeepClient } from '../../src/client/index.js';

/** Web servers and clients that go with the test that made them. */
export class WebOfTest {
  private readonly closings: (() => unknown)[] = [];

  constructor() {
    afterEach(async () => {
      for (const close of this.closings.splice(0)) await close();
    });
  }

  client(address: string, options: ConnectOptions = {}): ShardkeepClient {
    // no deadline of these tests is about how fast this machine is
    const client = connect(address, { timeoutMs: 30_000, logger: false, ...options });
    this.closings.push(() => client.close());
    return client;
  }

  /** Serves on a free port of this machine, and answers where. */
  async serve(listener: RequestListener): Promise<string> {
    const server = createServer(listener);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    this.closings.unshift(() => {
      server.closeAllConnections();
      server.close();
    });
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    return `http://127.0.0.1:${String(address.port)}`;
  }

  closeLater(close: () => unknown): void {
    this.closings.unshift(close);
  }
}

/** So many requests at once; their statuses. */
export async function statusesOf(count: number, url: string | ((index: number) => string)): Promise<number[]> {
  return Promise.all(
    Array.from({ length: count }, async (_, index) => {
      const response = await fetch(typeof url === 'string' ? url : url(index));
      await response.arrayBuffer();
      return response.status;
    }),
  );
}

export function countOf<Value>(values: readonly Value[], value: Value): number {
  return values.filter((one) => one === value).length;
}

/** A logger that remembers its warnings. */
export function listeningLogger(): Pick<Logger, 'warn'> & { readonly warnings: string[] } {
  const warnings: string[] = [];
  return {
    warnings,
    warn: (_details, message) => {
      warnings.push(message);
    },
  };
}
