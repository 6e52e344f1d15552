import { invalidField } from '../errors.js';
import {
  CacheServiceService,
  Consistency,
  type Entry,
  type IncrementRequest,
  type SetRequest,
} from '../gen/shardkeep/cache/v1/cache.js';
import { handWritten, implement, type Rpc } from '../grpc/rpc.js';
import { anything, bytes, integer, list, onlyTrue, oneOf, oneOfValues, optional, text } from '../grpc/rules.js';
import type { LiveEntry } from './entry.js';
import type { CacheStore, ReadFrom, SetCondition } from './store.js';
import { decodeGetRequest, getResponseWriter } from './wire.js';

export interface CacheHandlerOptions {
  readonly store: CacheStore;
  /** For writes that name no expiry. */
  readonly defaultTtlMs: number;
  readonly maxValueBytes: number;
}

const MAX_TTL_MS = 31_536_000_000n;
const MAX_KEYS = 256;
const INT64_MAX = 2n ** 63n - 1n;

/** Keys of this kind must expire (seed convention `temp:{purpose}:{id}`). */
const EPHEMERAL_PREFIX = 'temp:';

const key = text({ minBytes: 1, maxBytes: 512 });
const keyList = list(key, { min: 1, max: MAX_KEYS });
const distinctKeys = list(key, { min: 1, max: MAX_KEYS, unique: true });
const ttlMs = integer({ min: 1n, max: MAX_TTL_MS });
const consistency = oneOfValues(Consistency.UNSPECIFIED, Consistency.READ_MASTER, Consistency.NEAR);

/** `ttl_ms` and `no_expiry`, the same oneof in every request that has it. */
type Expiry = IncrementRequest['expiry'];
const expiry = oneOf<Expiry>({ ttlMs, noExpiry: onlyTrue });

export function cacheRpcs({ store, defaultTtlMs, maxValueBytes }: CacheHandlerOptions): readonly Rpc[] {
  /** 0: no expiry. */
  const ttlOf = (requested: Expiry): number => {
    if (requested === undefined) return defaultTtlMs;
    return requested.$case === 'ttlMs' ? Number(requested.value) : 0;
  };

  return implement(CacheServiceService, {
    get: handWritten({
      decode: decodeGetRequest,
      rules: { key, consistency },
      handle: (request, call) => store.get(request.key, call, readFrom(request)),
      writer: getResponseWriter,
    }),
    getMany: {
      rules: { keys: keyList, consistency },
      handle: async (request, call) => {
        const entries = await store.getMany(request.keys, call, readFrom(request));
        return { items: request.keys.map((name, index) => ({ key: name, entry: toEntry(entries[index]) })) };
      },
    },
    set: {
      rules: {
        key,
        value: bytes({ maxBytes: maxValueBytes }),
        expiry,
        condition: oneOf<SetRequest['condition']>({
          ifAbsent: onlyTrue,
          ifPresent: onlyTrue,
          ifVersion: integer({ min: 1n, max: INT64_MAX }),
        }),
      },
      check: (request) => {
        checkEphemeral(request.expiry, [request.key]);
      },
      handle: async (request, call) => {
        const options = { ttlMs: ttlOf(request.expiry), condition: toCondition(request.condition) };
        const { status, version } = await store.set(request.key, request.value, options, call);
        return { stored: status === 'stored', version };
      },
    },
    delete: {
      rules: { keys: distinctKeys },
      handle: async (request, call) => ({ deleted: await store.delete(request.keys, call) }),
    },
    exists: {
      rules: { keys: keyList },
      handle: async (request, call) => ({ exists: await store.exists(request.keys, call) }),
    },
    touch: {
      rules: { keys: distinctKeys, expiry },
      check: (request) => {
        checkEphemeral(request.expiry, request.keys);
      },
      handle: async (request, call) => ({
        touched: await store.touch(request.keys, ttlOf(request.expiry), call),
      }),
    },
    getTtl: {
      rules: { keys: keyList },
      handle: async (request, call) => {
        const ttls = await store.getTtl(request.keys, call);
        return {
          items: ttls.map((ttl, index) => ({
            key: request.keys[index] ?? '',
            exists: ttl.status !== 'missing',
            ttlMs: ttl.status === 'expiring' ? BigInt(ttl.ttlMs) : undefined,
          })),
        };
      },
    },
    increment: {
      rules: { key, delta: anything, expiry, floor: optional(anything), ceiling: optional(anything) },
      check: ({ key: name, expiry: requested, floor, ceiling }) => {
        checkEphemeral(requested, [name]);
        if (floor !== undefined && ceiling !== undefined && floor > ceiling) {
          throw invalidField('floor', 'must not be above ceiling');
        }
      },
      handle: ({ key: name, delta, expiry: requested, floor, ceiling }, call) =>
        store.increment(name, delta, { ttlMs: ttlOf(requested), floor, ceiling }, call),
    },
  });
}

function checkEphemeral(requested: Expiry, cacheKeys: readonly string[]): void {
  if (requested?.$case === 'noExpiry' && cacheKeys.some((name) => name.startsWith(EPHEMERAL_PREFIX))) {
    throw invalidField('no_expiry', 'must not be set for a key that begins with temp:');
  }
}

function readFrom(request: { readonly consistency: Consistency }): ReadFrom {
  return request.consistency === Consistency.NEAR ? 'near' : 'master';
}

function toEntry(entry: LiveEntry | undefined): Entry | undefined {
  if (entry === undefined) return undefined;
  return {
    value: entry.value,
    ttlMs: entry.ttlMs === undefined ? undefined : BigInt(entry.ttlMs),
    createdAtMs: BigInt(entry.createdAtMs),
    version: BigInt(entry.version),
  };
}

function toCondition(condition: SetRequest['condition']): SetCondition {
  switch (condition?.$case) {
    case undefined:
      return { kind: 'always' };
    case 'ifAbsent':
      return { kind: 'absent' };
    case 'ifPresent':
      return { kind: 'present' };
    case 'ifVersion':
      return { kind: 'version', version: condition.value };
  }
}
