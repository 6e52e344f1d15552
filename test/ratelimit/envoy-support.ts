import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import protobuf from 'protobufjs';

/** A client of Envoy's rate limit service that knows nothing of ours: built from the public numbers of its fields. */

const PATH = '/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit';

const DEADLINE_MS = 5_000;

export const UNKNOWN = 0;
export const OK = 1;
export const OVER_LIMIT = 2;
export const SECOND = 1;
export const MINUTE = 2;
export const HOUR = 3;
export const DAY = 4;
export const MONTH = 5;
export const WEEK = 7;

type FieldSpec = readonly [name: string, number: number, type: string, repeated?: 'repeated'];

const root = new protobuf.Root();
function type(name: string, ...fields: readonly FieldSpec[]): protobuf.Type {
  const made = new protobuf.Type(name);
  for (const [field, number, kind, rule] of fields) made.add(new protobuf.Field(field, number, kind, rule));
  root.add(made);
  return made;
}
type('Entry', ['key', 1, 'string'], ['value', 2, 'bytes']);
type('Override', ['requestsPerUnit', 1, 'uint32'], ['unit', 2, 'int32']);
type('UInt64Value', ['value', 1, 'uint64']);
type('Descriptor', ['entries', 1, 'Entry', 'repeated'], ['limit', 2, 'Override'], ['hitsAddend', 3, 'UInt64Value']);
const request = type(
  'Request',
  ['domain', 1, 'string'],
  ['descriptors', 2, 'Descriptor', 'repeated'],
  ['hitsAddend', 3, 'uint32'],
);
type('RateLimit', ['requestsPerUnit', 1, 'uint32'], ['unit', 2, 'int32'], ['name', 3, 'string']);
type('Duration', ['seconds', 1, 'int64'], ['nanos', 2, 'int32']);
type(
  'Status',
  ['code', 1, 'int32'],
  ['currentLimit', 2, 'RateLimit'],
  ['limitRemaining', 3, 'uint32'],
  ['durationUntilReset', 4, 'Duration'],
);
type('Header', ['key', 1, 'string'], ['value', 2, 'string']);
const response = type(
  'Response',
  ['overallCode', 1, 'int32'],
  ['statuses', 2, 'Status', 'repeated'],
  ['headers', 3, 'Header', 'repeated'],
);

export type Entries = readonly (readonly [key: string, value: string | Buffer])[];

export interface Descriptor {
  readonly entries: Entries;
  /** Digits where it is more than a double can tell. */
  readonly hits?: number | string;
  readonly limit?: { readonly requestsPerUnit: number; readonly unit: number };
}

export interface Status {
  readonly code: number;
  /** Undefined: there is no limit. */
  readonly limit: { readonly name: string; readonly requestsPerUnit: number; readonly unit: number } | undefined;
  readonly remaining: number;
  readonly resetMs: number | undefined;
}

export interface Answer {
  readonly overall: number;
  readonly codes: readonly number[];
  readonly statuses: readonly Status[];
  readonly headers: Readonly<Record<string, string>>;
}

interface WireStatus {
  readonly code: number;
  readonly currentLimit: Status['limit'] | null;
  readonly limitRemaining: number;
  readonly durationUntilReset: { readonly seconds: number; readonly nanos: number } | null;
}

interface WireResponse {
  readonly overallCode: number;
  readonly statuses: readonly WireStatus[];
  readonly headers: readonly { readonly key: string; readonly value: string }[];
}

export class EnvoyClient {
  private readonly client: Client;

  constructor(address: string) {
    this.client = new Client(address, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
  }

  /** `more`: bytes behind the request. */
  async ask(
    domain: string,
    descriptors: readonly Descriptor[],
    { hits = 0, more = Buffer.alloc(0) } = {},
  ): Promise<Answer> {
    const message = request.encode(
      request.fromObject({
        domain,
        descriptors: descriptors.map(({ entries, hits: own, limit }) => ({
          entries: entries.map(([key, value]) => ({ key, value: Buffer.from(value) })),
          limit,
          hitsAddend: own === undefined ? undefined : { value: own },
        })),
        hitsAddend: hits,
      }),
    );
    const reply = await this.send(Buffer.concat([message.finish(), more]));
    const wire = response.toObject(response.decode(reply), { longs: Number, defaults: true }) as WireResponse;
    const statuses = wire.statuses.map(({ code, currentLimit, limitRemaining, durationUntilReset: reset }) => ({
      code,
      limit: currentLimit ?? undefined,
      remaining: limitRemaining,
      resetMs: reset === null ? undefined : reset.seconds * 1_000 + reset.nanos / 1_000_000,
    }));
    return {
      overall: wire.overallCode,
      codes: statuses.map(({ code }) => code),
      statuses,
      headers: Object.fromEntries(wire.headers.map(({ key, value }) => [key, value])),
    };
  }

  /** How many of so many calls with one descriptor pass. */
  async passed(domain: string, descriptor: Descriptor, calls: number): Promise<number> {
    let count = 0;
    for (let call = 0; call < calls; call++) {
      if ((await this.ask(domain, [descriptor])).overall === OK) count++;
    }
    return count;
  }

  close(): void {
    this.client.close();
  }

  private send(payload: Buffer): Promise<Buffer> {
    const identity = (bytes: Buffer): Buffer => bytes;
    return new Promise((resolve, reject) => {
      const done = (error: ServiceError | null, reply?: Buffer): void => {
        if (error !== null) reject(error);
        else resolve(reply ?? Buffer.alloc(0));
      };
      const options = { deadline: Date.now() + DEADLINE_MS };
      this.client.makeUnaryRequest(PATH, identity, identity, payload, new Metadata(), options, done);
    });
  }
}
