import { DomainError } from '../errors.js';
import { OVERLOAD_RETRY_MS } from './invoke.js';
import { toStatus, type RpcStatus } from './status.js';

/** Made once: whoever sends too much shall not make the service work for it. */

function overloaded(message: string): RpcStatus {
  return toStatus(new DomainError('OVERLOADED', message, { retryAfterMs: OVERLOAD_RETRY_MS }));
}

export const STREAM_IS_FULL = overloaded('too many calls in flight on this stream');
export const TOO_MANY_PIPELINES = overloaded('too many streams of the pipeline on this connection');
export const REQUEST_TOO_LARGE = toStatus(
  new DomainError('MESSAGE_TOO_LARGE', 'too large for the pipeline; send a unary call'),
);
