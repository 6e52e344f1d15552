import type { EventEmitter } from 'node:events';
import { Metadata } from '@grpc/grpc-js';
import type { RpcStatus } from './status.js';

/** A status that grpc-js can send; the details are those of google.rpc.Status. */
export type TrailingStatus = Pick<RpcStatus, 'code' | 'message'> & Partial<RpcStatus>;

/** What goes with the status of a call that has no answer. */
export function trailersOf({ details, pushbackMs }: TrailingStatus): Metadata {
  const metadata = new Metadata();
  if (details !== undefined) metadata.set('grpc-status-details-bin', details);
  // a client that retries by its service config does not read RetryInfo, but obeys this: gRPC's A6 proposal
  if (pushbackMs !== undefined) metadata.set('grpc-retry-pushback-ms', String(pushbackMs));
  return metadata;
}

/** Ends a stream of grpc-js with a status other than OK. */
export function endStream(grpcStream: Pick<EventEmitter, 'emit'>, status: TrailingStatus): void {
  const { code, message } = status;
  const metadata = trailersOf(status);
  grpcStream.emit('error', Object.assign(new Error(message), { code, details: message, metadata }));
}
