import { createServer } from 'node:net';
import { portOf } from './tcp-proxy.js';

/** An address of this machine where nobody listens. */
export async function freeAddress(): Promise<string> {
  const listener = createServer();
  const port = await portOf(listener);
  await new Promise((resolve) => listener.close(resolve));
  return `127.0.0.1:${String(port)}`;
}
