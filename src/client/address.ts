import { invalidArgument } from './errors.js';

/** What grpc-js takes, with the port: without one it would dial 443. */
const WITH_PORT = /^(?:(?:dns|ipv4|ipv6):\/{0,3})?(?:\[[\da-f:.%]+\]|[^\s/:[\]]+):(\d{1,5})$/i;
const UNIX = /^unix(?:-abstract)?:.+$/;
const MAX_PORT = 65_535;

/** Throws InvalidArgumentError for what no service can be at; grpc-js would try it for ever. */
export function throwIfNoAddress(address: unknown): void {
  if (typeof address === 'string') {
    if (UNIX.test(address)) return;
    const port = Number(WITH_PORT.exec(address)?.[1] ?? 0);
    if (port > 0 && port <= MAX_PORT) return;
  }
  throw invalidArgument(`the address must be host:port or unix:/path, not ${JSON.stringify(address)}`, ['address']);
}
