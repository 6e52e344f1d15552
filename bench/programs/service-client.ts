import { connect, type ShardkeepClient } from '../../src/client/index.js';
import type { TargetName } from './protocol.js';

/** The one place that knows how the client library is opened. */

export type ServiceClient = ShardkeepClient;

/** Above what a call at full load or a stall of the machine takes: a slow call is a figure, not an error. */
const TIMEOUT_MS = 10_000;

export function connectService(address: string, target: TargetName): ServiceClient {
  return connect(address, { transport: target === 'service-unary' ? 'unary' : 'pipeline', timeoutMs: TIMEOUT_MS });
}
