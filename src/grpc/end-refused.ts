import type { EventEmitter } from 'node:events';
import { Metadata } from '@grpc/grpc-js';
import type { DomainError } from '../errors.js';
import { toStatus } from './status.js';

/** Ends a stream of grpc-js that was not let in. */
export function endRefused(grpcStream: Pick<EventEmitter, 'emit'>, error: DomainError): void {
  const { code, message, details } = toStatus(error);
  const metadata = new Metadata();
  metadata.set('grpc-status-details-bin', details);
  grpcStream.emit('error', Object.assign(new Error(message), { code, details: message, metadata }));
}
