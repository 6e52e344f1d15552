import type { ServiceError } from '@grpc/grpc-js';
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { Any, ErrorInfo, RetryInfo } from 'nice-grpc-error-details';

/** What shardkeep says about a failed call beyond the status code. */
export interface ErrorDetails {
  /** ErrorInfo.reason; '' when the failure did not come from shardkeep (a broken connection, a local deadline). */
  readonly reason: string;
  /** RetryInfo: when to try again; undefined when shardkeep did not say. */
  readonly retryAfterMs: number | undefined;
}

const TYPE_URL_PREFIX = 'type.googleapis.com/google.rpc.';
/** In google.rpc.Status. */
const DETAILS_FIELD = 3;

export function readErrorDetails(error: ServiceError): ErrorDetails {
  const [packed] = error.metadata.get('grpc-status-details-bin');
  const details = Buffer.isBuffer(packed) ? unpack(packed) : [];
  const info = details.find(({ typeUrl }) => typeUrl === `${TYPE_URL_PREFIX}ErrorInfo`);
  const retry = details.find(({ typeUrl }) => typeUrl === `${TYPE_URL_PREFIX}RetryInfo`);
  const delay = retry === undefined ? undefined : RetryInfo.decode(retry.value).retryDelay;
  return {
    reason: info === undefined ? '' : ErrorInfo.decode(info.value).reason,
    retryAfterMs: delay === undefined ? undefined : delay.seconds * 1_000 + delay.nanos / 1_000_000,
  };
}

function unpack(status: Buffer): Any[] {
  const details: Any[] = [];
  const reader = new BinaryReader(status);
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === DETAILS_FIELD && wireType === WireType.LengthDelimited) details.push(Any.decode(reader.bytes()));
    else reader.skip(wireType);
  }
  return details;
}
