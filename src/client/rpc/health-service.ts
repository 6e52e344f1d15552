import type { Buffer } from 'node:buffer';
import { ByteReader } from '../../wire/byte-reader.js';
import { ByteWriter, LENGTH_DELIMITED, VARINT } from '../../wire/byte-writer.js';
import { writeText } from '../../wire/fields.js';
import type { ServiceDefinition } from '../transport/method.js';

/** grpc.health.v1.Health, of the gRPC health checking protocol. */

export interface HealthCheckRequest {
  /** A service's full name, `liveness`, `readiness`, or '' for the whole. */
  readonly service: string;
}

/** grpc.health.v1.HealthCheckResponse.ServingStatus. */
export const ServingStatus = { UNKNOWN: 0, SERVING: 1, NOT_SERVING: 2, SERVICE_UNKNOWN: 3 } as const;

export interface HealthCheckResponse {
  readonly status: number;
}

const SERVICE = 1;
const STATUS = 1;

const messages = {
  requestSerialize: ({ service }: HealthCheckRequest): Buffer => {
    const writer = new ByteWriter(64);
    writeText(writer, SERVICE, service);
    return writer.take();
  },
  requestDeserialize: (bytes: Buffer): HealthCheckRequest => {
    const reader = new ByteReader(bytes, 0, bytes.length);
    let service = '';
    while (reader.hasMore) {
      const tag = reader.varint();
      if (tag === ((SERVICE << 3) | LENGTH_DELIMITED)) service = reader.text();
      else reader.skipField(tag);
    }
    return { service };
  },
  responseDeserialize: (bytes: Buffer): HealthCheckResponse => {
    const reader = new ByteReader(bytes, 0, bytes.length);
    let status: number = ServingStatus.UNKNOWN;
    while (reader.hasMore) {
      const tag = reader.varint();
      if (tag === ((STATUS << 3) | VARINT)) status = reader.varint();
      else reader.skipField(tag);
    }
    return { status };
  },
};

export const HealthService = {
  check: { ...messages, path: '/grpc.health.v1.Health/Check', requestStream: false, responseStream: false },
  watch: { ...messages, path: '/grpc.health.v1.Health/Watch', requestStream: false, responseStream: true },
} as const satisfies ServiceDefinition;
