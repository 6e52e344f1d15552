import { invalidField } from '../errors.js';
import {
  FillStatus,
  GetOrLeaseStatus,
  type CacheServiceService,
  type FillRequest,
  type GetOrLeaseRequest,
  type GetOrLeaseResponse,
} from '../gen/shardkeep/cache/v1/cache.js';
import type { Implementation } from '../grpc/rpc.js';
import { bytes, integer, oneOf, onlyTrue, type Rule } from '../grpc/rules.js';
import type { LiveEntry } from './entry.js';
import * as fields from './fields.js';
import { toEntry } from './entry-message.js';
import {
  LEASE_TOKEN_BYTES,
  type EarlyRefresh,
  type LeaseOutcome,
  type LeaseStore,
  type LoadResult,
} from './lease-store.js';

const MAX_LEASE_MS = 600_000n;
const MAX_WAIT_MS = 60_000n;
const MAX_BETA = 100;

export interface LeaseHandlerOptions {
  readonly leases: LeaseStore;
  readonly defaultTtlMs: number;
  readonly maxValueBytes: number;
}

const leaseMs = integer({ min: 1n, max: MAX_LEASE_MS });

const leaseToken: Rule<Buffer> = (value, field, violations) => {
  if (value.length !== LEASE_TOKEN_BYTES) {
    violations.push({ field, description: `must have ${String(LEASE_TOKEN_BYTES)} bytes` });
  }
};

function between(belowMin: number, max: number, { maxIsRight }: { maxIsRight: boolean }): Rule<number> {
  return (value, field, violations) => {
    const right = value > belowMin && (maxIsRight ? value <= max : value < max);
    if (!right)
      violations.push({
        field,
        description: `must be above ${String(belowMin)} and ${maxIsRight ? 'at most' : 'below'} ${String(max)}`,
      });
  };
}

type Methods = Pick<Implementation<typeof CacheServiceService>, 'getOrLease' | 'fill' | 'renewLease' | 'failLease'>;

export function leaseMethods({ leases, defaultTtlMs, maxValueBytes }: LeaseHandlerOptions): Methods {
  return {
    getOrLease: {
      rules: {
        key: fields.key,
        leaseMs,
        waitMs: integer({ min: 0n, max: MAX_WAIT_MS }),
        early: oneOf<GetOrLeaseRequest['early']>({
          earlyFraction: between(0, 1, { maxIsRight: false }),
          earlyBeta: between(0, MAX_BETA, { maxIsRight: true }),
        }),
      },
      handle: async (request, call) => {
        const options = {
          leaseMs: Number(request.leaseMs),
          waitMs: Number(request.waitMs),
          early: toEarlyRefresh(request.early),
        };
        return toResponse(await leases.getOrLease(request.key, options, call));
      },
    },
    fill: {
      rules: {
        key: fields.key,
        leaseToken,
        result: oneOf<FillRequest['result']>(
          { value: bytes({ maxBytes: maxValueBytes }), absent: onlyTrue, notModified: onlyTrue },
          { required: true },
        ),
        expiry: fields.entryExpiry,
        tags: fields.entryTags,
        jitterPercent: fields.jitterPercent,
        guard: fields.guard,
      },
      check: ({ key, expiry }) => {
        fields.checkEphemeral(expiry, [key]);
      },
      handle: async (request, call) => {
        const { status, version } = await leases.fill(
          request.key,
          request.leaseToken,
          toLoadResult(request.result),
          {
            ...fields.lifetimeOf(request.expiry, request.jitterPercent, defaultTtlMs),
            tags: request.tags,
            guard: fields.toGuard(request.guard),
          },
          call,
        );
        return { status: status === 'filled' ? FillStatus.FILLED : FillStatus.LEASE_LOST, version };
      },
    },
    renewLease: {
      rules: { key: fields.key, leaseToken, leaseMs },
      handle: async (request, call) => ({
        renewed: await leases.renewLease(request.key, request.leaseToken, Number(request.leaseMs), call),
      }),
    },
    failLease: {
      rules: { key: fields.key, leaseToken, retryAfterMs: integer({ min: 0n, max: MAX_LEASE_MS }) },
      handle: async (request, call) => ({
        failed: await leases.failLease(request.key, request.leaseToken, Number(request.retryAfterMs), call),
      }),
    },
  };
}

function toEarlyRefresh(early: GetOrLeaseRequest['early']): EarlyRefresh {
  switch (early?.$case) {
    case undefined:
      return { kind: 'never' };
    case 'earlyFraction':
      return { kind: 'fraction', fraction: early.value };
    case 'earlyBeta':
      return { kind: 'xfetch', beta: early.value };
  }
}

function toLoadResult(result: FillRequest['result']): LoadResult {
  switch (result?.$case) {
    case 'value':
      return { kind: 'value', value: result.value };
    case 'absent':
      return { kind: 'absent' };
    case 'notModified':
      return { kind: 'unmodified' };
    case undefined:
      throw invalidField('result', 'one of its fields must be set');
  }
}

const NO_BYTES = Buffer.alloc(0);

const STATUS = {
  hit: GetOrLeaseStatus.HIT,
  stale: GetOrLeaseStatus.STALE,
  leased: GetOrLeaseStatus.LEASED,
  loading: GetOrLeaseStatus.LOADING,
} as const;

function toResponse(outcome: LeaseOutcome): GetOrLeaseResponse {
  const waits = outcome.status === 'stale' || outcome.status === 'loading';
  const entry: LiveEntry | undefined = outcome.entry;
  return {
    status: STATUS[outcome.status],
    entry: toEntry(entry),
    absent: entry?.absent ?? false,
    leaseToken: outcome.status === 'leased' ? outcome.leaseToken : NO_BYTES,
    retryAfterMs: waits ? BigInt(Math.max(1, Math.ceil(outcome.retryAfterMs))) : 0n,
    loadFailed: waits && outcome.failed,
  };
}
