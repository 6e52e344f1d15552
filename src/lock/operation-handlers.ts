import { invalidField } from '../errors.js';
import type {
  GetLockStatsResponse,
  LockServiceService,
  LockSummary as LockSummaryMessage,
  WatchLocksResponse,
} from '../gen/shardkeep/lock/v1/lock.js';
import type { Implementation, StreamContext } from '../grpc/rpc.js';
import { anything, bytes, integer, list, text } from '../grpc/rules.js';
import { decodeListToken, encodeListToken, MAX_PAGE_TOKEN_BYTES, type ListScope } from '../redis/list-token.js';
import type { LockAudit } from './audit.js';
import * as fields from './fields.js';
import type { HeldCount, LockOperationStore, LockSummary } from './operation-store.js';
import type { CountedLocks, LockStatsStore } from './stats-store.js';
import type { LockWatcher } from './watch/lock-watcher.js';

export interface OperationHandlerOptions {
  readonly operations: LockOperationStore;
  readonly stats: LockStatsStore;
  readonly audit: LockAudit;
  readonly openLockWatcher: (
    namespace: string,
    selection: { readonly resources: readonly string[]; readonly prefix: string },
  ) => LockWatcher;
}

type Operations = Pick<
  Implementation<typeof LockServiceService>,
  'listLocks' | 'watchLocks' | 'forceReleaseLock' | 'cleanupExpiredLocks' | 'getLockStats'
>;

const MAX_PAGE_SIZE = 1_000;
const DEFAULT_PAGE_SIZE = 100;
const MAX_WATCHED = 100;
const MAX_HOTTEST = 100;

const prefix = text({ minBytes: 0, maxBytes: 512 });

export function operationRpcs({ operations, stats, audit, openLockWatcher }: OperationHandlerOptions): Operations {
  return {
    listLocks: {
      rules: {
        prefix,
        pageSize: integer({ min: 0, max: MAX_PAGE_SIZE }),
        pageToken: bytes({ maxBytes: MAX_PAGE_TOKEN_BYTES }),
      },
      handle: async ({ prefix: beginning, pageSize, pageToken }, call) => {
        const scope: ListScope = { of: 'locks', namespace: call.namespace, prefix: beginning };
        const place = decodeListToken(scope, pageToken);
        if (place === undefined)
          throw invalidField('page_token', 'must be the next_page_token of a list of this prefix');
        const size = pageSize === 0 ? DEFAULT_PAGE_SIZE : pageSize;
        const { locks, next } = await operations.listLocks(beginning, { pageSize: size, place }, call);
        return { locks: locks.map(toSummary), nextPageToken: encodeListToken(scope, next) };
      },
    },
    watchLocks: {
      rules: { resources: list(fields.resource, { min: 0, max: MAX_WATCHED, unique: true }), prefix },
      check: ({ resources, prefix: beginning }) => {
        if (resources.length === 0 && beginning === '') throw invalidField('resources', 'or a prefix must be given');
      },
      onDrain: 'end',
      handle: (selection, call) => watch(openLockWatcher(call.principal.namespace, selection), call),
    },
    forceReleaseLock: {
      access: 'admin',
      rules: {
        resource: fields.resource,
        reason: text({ minBytes: 1, maxBytes: 256 }),
        expectedFencingToken: integer({ min: 0n, max: 2n ** 63n - 1n }),
        afterLeases: anything,
      },
      handle: async ({ resource, reason, expectedFencingToken, afterLeases }, call) => {
        const terms = { reason, expectedFencingToken: String(expectedFencingToken), afterLeases };
        const outcome = await operations.forceReleaseLock(resource, terms, call);
        if (outcome.released) audit.forceReleased({ resource, reason, ...outcome }, call);
        return {
          holders: outcome.holders.map(fields.toHolder),
          fencingToken: BigInt(outcome.fence),
          released: outcome.released,
        };
      },
    },
    cleanupExpiredLocks: {
      access: 'admin',
      rules: {},
      handle: async (_, call) => {
        const { scanned, expiredHolders, expiredWaiters } = await operations.cleanupExpiredLocks(call);
        return {
          scannedCount: BigInt(scanned),
          expiredHolders: BigInt(expiredHolders),
          expiredWaiters: BigInt(expiredWaiters),
        };
      },
    },
    getLockStats: {
      access: 'admin',
      rules: { hottestCount: integer({ min: 0, max: MAX_HOTTEST }) },
      handle: async ({ hottestCount }, call) => {
        const [counted, held] = await Promise.all([stats.getLockStats(hottestCount, call), operations.countHeld(call)]);
        return toStats(counted, held);
      },
    },
  };
}

async function* watch(watcher: LockWatcher, call: StreamContext): AsyncGenerator<WatchLocksResponse, void> {
  // whoever waits for the next change would not hear of the end
  call.whenEnded(() => {
    watcher.close();
  });
  try {
    for (;;) {
      const news = await watcher.next();
      if (news === undefined) return;
      yield { locks: news.locks.map(toSummary), resync: news.resync };
    }
  } finally {
    watcher.close();
  }
}

function toSummary(summary: LockSummary): LockSummaryMessage {
  const [holder] = summary.holders;
  return {
    resource: summary.resource,
    holder: holder && fields.toHolder(holder),
    holderCount: BigInt(summary.holderCount),
    waitingCount: BigInt(summary.waitingCount),
    fencingToken: BigInt(summary.fence ?? 0),
    delayLeftMs: BigInt(summary.delayLeftMs),
  };
}

function toStats({ counts, minutes, waiting, hottest }: CountedLocks, held: HeldCount): GetLockStatsResponse {
  return {
    heldCount: BigInt(held.held),
    waitingCount: BigInt(waiting),
    complete: held.complete,
    granted: BigInt(counts.granted),
    grantedAfterWaiting: BigInt(counts.grantedAfterWaiting),
    refused: BigInt(counts.refusedHeld + counts.refusedQueued + counts.refusedInDelay),
    released: BigInt(counts.released),
    lost: BigInt(counts.lost),
    forceReleased: BigInt(counts.forceReleased),
    waitedMs: BigInt(counts.waitedMs),
    heldMs: BigInt(counts.heldMs),
    minutes,
    hottest: hottest.map(({ name, count }) => ({ resource: name, contended: BigInt(count) })),
  };
}
