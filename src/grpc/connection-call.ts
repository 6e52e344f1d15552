import { performance } from 'node:perf_hooks';
import {
  Metadata,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
} from '@grpc/grpc-js';
import { DomainError } from '../errors.js';
import { NO_SLOT, type Timed } from '../wire/deadline-wheel.js';
import type { Connection } from './connection.js';
import { CallEndedError, toStatus, type RpcStatus } from './status.js';
import { trailersOf } from './trailers.js';
import { remainingMs } from './unary.js';

type Listener = Parameters<ServerInterceptingCall['start']>[0];
type Method = Parameters<ServerInterceptor>[0];

/** Answers up to this length are not counted while they are on their way: streams and their windows bound them. */
const LONG_ANSWER_BYTES = 16_384;
/** What HTTP/2 adds for each entry where it speaks of the size of a header list. */
const ENTRY_BYTES = 32;
const OVERLOAD_RETRY_MS = 1_000;
/** A timer of Node's may be so much ahead of the wall clock that a deadline is on. */
const CLOCK_GRAIN_MS = 2;

// made once: whoever sends too much shall not make the service work for it
const METADATA_TOO_LARGE = toStatus(new DomainError('METADATA_TOO_LARGE', 'the metadata of the call is too large'));
const NOT_COMPLETE = toStatus(new CallEndedError('deadline'));
const UNREAD = toStatus(
  new DomainError('OVERLOADED', 'the caller does not read its answers', { retryAfterMs: OVERLOAD_RETRY_MS }),
);

/**
 * A call between the HTTP/2 stream and the adapters, bounded where only the transport can: how large its metadata is, how
 * long its request may take and how much of the answers on a connection may be on their way. One object a call, which
 * stands in for both the call and its listener.
 */
export class ConnectionCall extends ServerInterceptingCall implements Timed {
  slot = NO_SLOT;
  next: Timed | undefined;
  previous: Timed | undefined;
  deadlineAt = 0;
  private listener: Listener | undefined;
  private reservedBytes = 0;
  /** The request, or nobody waits for it any more. */
  private isComplete = false;

  constructor(
    private readonly method: Method,
    private readonly call: ServerInterceptingCallInterface,
    private readonly connection: Connection,
  ) {
    super(call);
  }

  override start(listener: Listener): void {
    this.listener = listener;
    this.call.start(this);
  }

  onReceiveMetadata(metadata: Metadata): void {
    const { method, connection } = this;
    connection.arrivals++;
    const { maxMetadataBytes, maxDeadlineMs, requestDeadlines, rejections } = connection.surroundings;
    if (sizeOf(metadata) > maxMetadataBytes) {
      rejections.count('metadata');
      this.isComplete = true;
      this.refuse(METADATA_TOO_LARGE);
      return;
    }
    if (method.responseStream) connection.carries(metadata);
    // grpc-js itself ends a call at the deadline that its caller named
    if (!method.requestStream && !((remainingMs(this.call.getDeadline()) ?? Infinity) <= maxDeadlineMs)) {
      this.deadlineAt = performance.now() + maxDeadlineMs;
      requestDeadlines.add(this);
    }
    this.listener?.onReceiveMetadata(metadata);
  }

  onReceiveMessage(message: Buffer): void {
    this.connection.arrivals++;
    this.listener?.onReceiveMessage(message);
  }

  onReceiveHalfClose(): void {
    this.isComplete = true;
    this.connection.surroundings.requestDeadlines.remove(this);
    this.listener?.onReceiveHalfClose();
  }

  onCancel(): void {
    this.connection.surroundings.requestDeadlines.remove(this);
    // grpc-js has ended it at its deadline
    if (!this.isComplete && (remainingMs(this.call.getDeadline()) ?? Infinity) <= CLOCK_GRAIN_MS) this.tooSlow();
    this.release();
    this.listener?.onCancel();
  }

  /** The request is not complete when the longest time of a call is over. */
  expire(): void {
    this.tooSlow();
    this.refuse(NOT_COMPLETE);
  }

  override sendMetadata(metadata: Metadata): void {
    this.call.sendMetadata(metadata);
  }

  override sendMessage(message: Buffer, callback: () => void): void {
    if (message.length <= LONG_ANSWER_BYTES || this.method.responseStream) {
      this.call.sendMessage(message, callback);
      return;
    }
    if (!this.connection.reserve(message.length)) {
      this.connection.surroundings.rejections.count('slow_reader');
      this.refuse(UNREAD);
      return;
    }
    this.reservedBytes = message.length;
    this.call.sendMessage(message, () => {
      this.release();
      callback();
    });
  }

  override sendStatus(status: Parameters<ServerInterceptingCall['sendStatus']>[0]): void {
    this.call.sendStatus(status);
  }

  override startRead(): void {
    this.call.startRead();
  }

  override getPeer(): string {
    return this.connection.peer;
  }

  override getAuthContext(): ReturnType<ServerInterceptingCall['getAuthContext']> {
    return this.connection.authContext(() => this.call.getAuthContext());
  }

  private tooSlow(): void {
    this.isComplete = true;
    // streams may stay open for as long as they like
    if (!this.method.requestStream) this.connection.slowRequest();
  }

  private refuse(status: RpcStatus): void {
    this.call.sendStatus({ code: status.code, details: status.message, metadata: trailersOf(status) });
  }

  private release(): void {
    if (this.reservedBytes === 0) return;
    this.connection.release(this.reservedBytes);
    this.reservedBytes = 0;
  }
}

function sizeOf(metadata: Metadata): number {
  let bytes = 0;
  const headers = metadata.toHttp2Headers();
  for (const name in headers) {
    const values = headers[name];
    for (const value of Array.isArray(values) ? values : [values]) {
      bytes += name.length + String(value ?? '').length + ENTRY_BYTES;
    }
  }
  return bytes;
}
