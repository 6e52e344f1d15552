import { DomainError, invalidField, type FieldViolation } from '../errors.js';
import {
  CacheServiceService,
  Consistency,
  type SetManyItem,
  type SetManyRequest,
  type SetRequest,
} from '../gen/shardkeep/cache/v1/cache.js';
import type { CallContext } from '../grpc/call-context.js';
import { handWritten, implement, type Rpc } from '../grpc/rpc.js';
import {
  anything,
  bytes,
  integer,
  list,
  message,
  onlyTrue,
  oneOf,
  oneOfValues,
  optional,
  text,
  type Rules,
} from '../grpc/rules.js';
import { codeOf } from '../grpc/status.js';
import { collectionMethods } from './collection-handlers.js';
import type { CollectionStore } from './collection-store.js';
import { toEntry } from './entry-message.js';
import * as fields from './fields.js';
import { leaseMethods } from './lease-handlers.js';
import type { LeaseStore } from './lease-store.js';
import { deletePatternMethod } from './pattern-handlers.js';
import type { PatternStore } from './pattern-store.js';
import type { SetReply } from './scripts.js';
import { decodeSetRequest, setResponseWriter } from './set-wire.js';
import { statsMethods, type StatsHandlerOptions } from './stats-handlers.js';
import type { CacheStore, ReadFrom } from './store.js';
import type { SetCondition } from './write-options.js';
import { tagMethods } from './tag-handlers.js';
import { watchMethods } from './watch-handlers.js';
import type { Watcher } from './watch/watcher.js';
import { decodeGetRequest, getResponseWriter } from './wire.js';

export interface CacheHandlerOptions extends StatsHandlerOptions {
  readonly store: CacheStore;
  readonly leases: LeaseStore;
  readonly collections: CollectionStore;
  readonly patterns: PatternStore;
  readonly openWatcher: (namespace: string) => Watcher;
  /** For writes that name no expiry. */
  readonly defaultTtlMs: number;
  readonly maxValueBytes: number;
}

const INT64_MAX = 2n ** 63n - 1n;

const consistency = oneOfValues<Consistency>(Consistency.UNSPECIFIED, Consistency.READ_MASTER, Consistency.NEAR);
const requestId = text({ minBytes: 0, maxBytes: 128 });
const MIN_REQUEST_ID_BYTES = 16;

export function cacheRpcs(options: CacheHandlerOptions): readonly Rpc[] {
  const { store, defaultTtlMs, maxValueBytes } = options;

  const setRules: Rules<SetRequest> = {
    key: fields.key,
    value: bytes({ maxBytes: maxValueBytes }),
    expiry: fields.entryExpiry,
    condition: oneOf<SetRequest['condition']>({
      ifAbsent: onlyTrue,
      ifPresent: onlyTrue,
      ifVersion: integer({ min: 1n, max: INT64_MAX }),
    }),
    tags: fields.entryTags,
    jitterPercent: fields.jitterPercent,
    guard: fields.guard,
  };

  const set = (request: SetRequest, call: CallContext): Promise<SetReply> => {
    const { ttlMs, freshMs } = fields.lifetimeOf(request.expiry, request.jitterPercent, defaultTtlMs);
    const options = {
      ttlMs,
      freshMs,
      condition: toCondition(request.condition),
      tags: request.tags,
      guard: fields.toGuard(request.guard),
    };
    return store.set(request.key, request.value, options, call);
  };

  return implement(CacheServiceService, {
    get: handWritten({
      decode: decodeGetRequest,
      rules: { key: fields.key, consistency },
      handle: (request, call) => store.get(request.key, call, readFrom(request)),
      writer: getResponseWriter,
    }),
    getMany: {
      rules: { keys: fields.keyList, consistency },
      handle: async (request, call) => {
        const entries = await store.getMany(request.keys, call, readFrom(request));
        return { items: request.keys.map((name, index) => ({ key: name, entry: toEntry(entries[index]) })) };
      },
    },
    set: handWritten({
      decode: decodeSetRequest,
      rules: setRules,
      check: (request) => {
        fields.checkEphemeral(request.expiry, [request.key]);
      },
      handle: set,
      writer: setResponseWriter,
    }),
    setMany: {
      rules: { entries: list(message(setRules), { min: 1, max: fields.MAX_KEYS }) },
      check: checkSetMany,
      handle: async ({ entries }, call) => ({
        items: await Promise.all(entries.map((entry) => itemOf(entry.key, set(entry, call)))),
      }),
    },
    delete: {
      rules: { keys: fields.distinctKeys, guard: fields.guard },
      check: ({ keys, guard }) => {
        if (guard !== undefined && keys.length > 1) throw invalidField('guard', 'needs a single key');
      },
      handle: async (request, call) => ({
        deleted: await store.delete(request.keys, fields.toGuard(request.guard), call),
      }),
    },
    exists: {
      rules: { keys: fields.keyList },
      handle: async (request, call) => ({ exists: await store.exists(request.keys, call) }),
    },
    touch: {
      rules: { keys: fields.distinctKeys, expiry: fields.expiry },
      check: (request) => {
        fields.checkEphemeral(request.expiry, request.keys);
      },
      handle: async (request, call) => ({
        touched: await store.touch(request.keys, fields.ttlOf(request.expiry, defaultTtlMs), call),
      }),
    },
    getTtl: {
      rules: { keys: fields.keyList },
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
      rules: {
        key: fields.key,
        delta: anything,
        expiry: fields.expiry,
        floor: optional(anything),
        ceiling: optional(anything),
        requestId: (value, field, violations) => {
          if (value !== '' && Buffer.byteLength(value) < MIN_REQUEST_ID_BYTES) {
            violations.push({
              field,
              description: `must be empty or have at least ${String(MIN_REQUEST_ID_BYTES)} bytes`,
            });
          } else {
            requestId(value, field, violations);
          }
        },
        guard: fields.guard,
      },
      check: ({ key, expiry, floor, ceiling }) => {
        fields.checkEphemeral(expiry, [key]);
        if (floor !== undefined && ceiling !== undefined && floor > ceiling) {
          throw invalidField('floor', 'must not be above ceiling');
        }
      },
      handle: ({ key, delta, expiry, floor, ceiling, requestId: id, guard }, call) => {
        const ttlMs = fields.ttlOf(expiry, defaultTtlMs);
        return store.increment(
          key,
          delta,
          { ttlMs, floor, ceiling, requestId: id, guard: fields.toGuard(guard) },
          call,
        );
      },
    },
    ...leaseMethods(options),
    ...tagMethods(options),
    ...collectionMethods(options),
    ...statsMethods(options),
    ...watchMethods(options),
    deletePattern: deletePatternMethod(options.patterns),
  });
}

function readFrom(request: { readonly consistency: Consistency }): ReadFrom {
  return request.consistency === Consistency.NEAR ? 'near' : 'master';
}

function checkSetMany({ entries }: SetManyRequest): void {
  const violations: FieldViolation[] = [];
  const seen = new Set<string>();
  entries.forEach(({ key, expiry }, index) => {
    const field = `entries[${String(index)}]`;
    const violation = fields.ephemeralViolation(field, expiry, key);
    if (violation !== undefined) violations.push(violation);
    if (seen.has(key)) violations.push({ field: `${field}.key`, description: 'must not be written twice' });
    seen.add(key);
  });
  const [first] = violations;
  if (first !== undefined) throw invalidField(first.field, first.description);
}

/** One write of several: what it could not do is its own answer. A bug is that of the whole call. */
async function itemOf(key: string, writing: Promise<SetReply>): Promise<SetManyItem> {
  try {
    const { status, version } = await writing;
    return { key, stored: status === 'stored', version: BigInt(version), code: 0, reason: '' };
  } catch (error) {
    if (!(error instanceof DomainError)) throw error;
    return { key, stored: false, version: 0n, code: codeOf(error.code), reason: error.code };
  }
}

const ALWAYS: SetCondition = { kind: 'always' };
const ABSENT: SetCondition = { kind: 'absent' };
const PRESENT: SetCondition = { kind: 'present' };

function toCondition(condition: SetRequest['condition']): SetCondition {
  switch (condition?.$case) {
    case undefined:
      return ALWAYS;
    case 'ifAbsent':
      return ABSENT;
    case 'ifPresent':
      return PRESENT;
    case 'ifVersion':
      return { kind: 'version', version: condition.value };
  }
}
