import { connect, type Rpc } from '../../src/client/index.js';
import type { TargetName } from './protocol.js';

/** The one place that knows how the client library is opened. */

export type ServiceClient = Rpc & { readonly close: () => Promise<void> };

/** Above what a call at full load or a stall of the machine takes: a slow call is a figure, not an error. */
const TIMEOUT_MS = 10_000;

export function connectService(address: string, target: TargetName): ServiceClient {
  const transport = target === 'service-unary' ? 'unary' : 'pipeline';
  const client = connect(address, { transport, timeoutMs: TIMEOUT_MS });
  return { ...client.rpc, close: () => client.close() };
}
