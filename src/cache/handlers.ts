import { invalidField } from '../errors.js';
import { CacheServiceService, type Entry, type SetRequest } from '../gen/shardkeep/cache/v1/cache.js';
import { handWritten, implement, type Rpc } from '../grpc/rpc.js';
import { anything, bytes, integer, list, onlyTrue, oneOf, optional } from '../grpc/rules.js';
import { collectionMethods } from './collection-handlers.js';
import type { CollectionStore } from './collection-store.js';
import type { LiveEntry } from './entry.js';
import { checkEphemeral, expiry, key, ttlMsOf, type Expiry } from './request-fields.js';
import type { CacheStore, SetCondition } from './store.js';
import { decodeGetRequest, getResponseWriter } from './wire.js';

export interface CacheHandlerOptions {
  readonly store: CacheStore;
  readonly collections: CollectionStore;
  /** For writes that name no expiry. */
  readonly defaultTtlMs: number;
  readonly maxValueBytes: number;
}

const MAX_KEYS = 256;
const INT64_MAX = 2n ** 63n - 1n;

const keyList = list(key, { min: 1, max: MAX_KEYS });
const distinctKeys = list(key, { min: 1, max: MAX_KEYS, unique: true });

export function cacheRpcs({ store, collections, defaultTtlMs, maxValueBytes }: CacheHandlerOptions): readonly Rpc[] {
  const ttlOf = (requested: Expiry): number => ttlMsOf(requested, defaultTtlMs);

  return implement(CacheServiceService, {
    get: handWritten({
      decode: decodeGetRequest,
      rules: { key },
      handle: (request, call) => store.get(request.key, call),
      writer: getResponseWriter,
    }),
    getMany: {
      rules: { keys: keyList },
      handle: async (request, call) => {
        const entries = await store.getMany(request.keys, call);
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
    ...collectionMethods({ store: collections, defaultTtlMs }),
  });
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
