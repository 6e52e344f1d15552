import { performance } from 'node:perf_hooks';
import { DomainError } from '../errors.js';
import type { Call } from '../redis/call.js';
import { keys, lockResourceOf, lockScanPattern } from '../redis/keys.js';
import type { ListPlace } from '../redis/list-token.js';
import { listPage, stopOf, type PageRequest } from '../redis/paged-list.js';
import type { Redis } from '../redis/redis.js';
import { rest } from '../redis/scan.js';
import {
  cleanupLockScript,
  forceReleaseLockScript,
  getLockScript,
  type ForceReleaseReply,
  type LockStateReply,
} from './scripts.js';
import type { LockStats } from './stats.js';

export interface OperationStoreOptions {
  readonly redis: Redis;
  readonly stats: LockStats;
  /** How long the fencing token of a resource is remembered after its last lease. */
  readonly fenceRetentionMs: number;
}

export interface ForceReleaseTerms {
  readonly reason: string;
  /** '0': in any case. */
  readonly expectedFencingToken: string;
  /** Nobody is granted it before the leases that are taken would have ended. */
  readonly afterLeases: boolean;
}

/** How a lock stands, of its holders at most one named. */
export interface LockSummary extends LockStateReply {
  readonly resource: string;
}

export interface LockPage {
  readonly locks: readonly LockSummary[];
  /** Undefined: that was all. */
  readonly next: ListPlace | undefined;
}

export interface HeldCount {
  readonly held: number;
  /** False where there are more locks than were counted. */
  readonly complete: boolean;
}

export interface CleanedUp {
  readonly scanned: number;
  readonly expiredHolders: number;
  readonly expiredWaiters: number;
}

const MAX_LISTED = '100';
/** Locks read or cleared in one step: so many scripts take Redis 1 ms. */
const BATCH = 64;
const MAX_COUNTED = 100_000;
/** One walks over all keys of Redis: more at once would leave it to nobody else. */
const MAX_COUNTS_RUNNING = 2;
const RETRY_AFTER_MS = 1_000;

/** What operators do with the locks of a namespace, on the `state` Redis. */
export class LockOperationStore {
  private readonly redis: Redis;
  private readonly stats: LockStats;
  private readonly fenceRetentionMs: string;
  private countsRunning = 0;
  private isCleaning = false;

  constructor({ redis, stats, fenceRetentionMs }: OperationStoreOptions) {
    this.redis = redis;
    this.stats = stats;
    this.fenceRetentionMs = String(fenceRetentionMs);
  }

  /** Of the holders at most 100 are named. */
  async forceReleaseLock(
    resource: string,
    { reason, expectedFencingToken, afterLeases }: ForceReleaseTerms,
    call: Call,
  ): Promise<ForceReleaseReply> {
    const { fenceRetentionMs } = this;
    const lock = keys.lock(call.namespace, resource);
    const args = {
      reason,
      expectedFencingToken,
      maxListed: MAX_LISTED,
      afterLeases: afterLeases ? '1' : '0',
      fenceRetentionMs,
    };
    const reply = await this.redis.run(forceReleaseLockScript.bind({ lock }, args), call);
    const counts = this.stats.of(call.namespace);
    if (reply.holderCount > 0) counts.forceReleased();
    if (reply.lost > 0) counts.lost(reply.lost);
    return reply;
  }

  /** How a lock stands now. */
  async summaryOf(resource: string, call: Call): Promise<LockSummary> {
    const lock = keys.lock(call.namespace, resource);
    return { ...(await this.redis.run(getLockScript.bind({ lock }, { maxListed: '1' }), call)), resource };
  }

  /** Locks that are held, waited for or in delay; a bounded part of the way, so also none where others follow. */
  listLocks(prefix: string, page: PageRequest, call: Call): Promise<LockPage> {
    return this.findLocks(prefix, page, isInUse, call);
  }

  /** The same for locks of which something ends by itself, or has ended and was not cleared. */
  listEnding(prefix: string, page: PageRequest, call: Call): Promise<LockPage> {
    return this.findLocks(prefix, page, ({ changesInMs, endedMsAgo }) => changesInMs + endedMsAgo > 0, call);
  }

  /** Counts the resources that are held, as far as the number of locks and the time of the call allow. */
  async countHeld(call: Call): Promise<HeldCount> {
    if (this.countsRunning >= MAX_COUNTS_RUNNING) throw tooMany('too many counts of all locks run');
    this.countsRunning++;
    try {
      const stopAt = stopOf(call);
      let [held, counted] = [0, 0];
      for await (const page of this.pagesOfLocks(call)) {
        const states = await Promise.all(page.map((resource) => this.summaryOf(resource, call)));
        held += states.filter(({ holderCount }) => holderCount > 0).length;
        counted += page.length;
        if (counted >= MAX_COUNTED || performance.now() >= stopAt) return { held, complete: false };
      }
      return { held, complete: true };
    } finally {
      this.countsRunning--;
    }
  }

  /** Clears what is over of all locks. Throws OVERLOADED while another one of this process runs. */
  async cleanupExpiredLocks(call: Call): Promise<CleanedUp> {
    if (this.isCleaning) throw tooMany('another cleanup runs');
    this.isCleaning = true;
    try {
      const { fenceRetentionMs } = this;
      const done = { scanned: 0, expiredHolders: 0, expiredWaiters: 0 };
      for await (const page of this.pagesOfLocks(call)) {
        const bound = page.map((resource) =>
          cleanupLockScript.bind({ lock: keys.lock(call.namespace, resource) }, { fenceRetentionMs }),
        );
        for (const { expiredHolders, expiredWaiters, lost } of await Promise.all(
          bound.map((script) => this.redis.run(script, call)),
        )) {
          done.expiredHolders += expiredHolders;
          done.expiredWaiters += expiredWaiters;
          if (lost > 0) this.stats.of(call.namespace).lost(lost);
        }
        done.scanned += page.length;
      }
      return done;
    } finally {
      this.isCleaning = false;
    }
  }

  private async findLocks(
    prefix: string,
    page: PageRequest,
    isWanted: (summary: LockSummary) => boolean,
    call: Call,
  ): Promise<LockPage> {
    const { items, next } = await listPage(
      {
        prefix,
        scan: this.redis.pagedScan(lockScanPattern(call.namespace, prefix)),
        nameOf: (redisKey) => lockResourceOf(call.namespace, redisKey),
        read: async (resource) => {
          const summary = await this.summaryOf(resource, call);
          return isWanted(summary) ? summary : undefined;
        },
      },
      page,
      call,
    );
    return { locks: items, next };
  }

  /** All locks of the namespace, also those that only their fence is left of, a few at a time. */
  private async *pagesOfLocks(call: Call): AsyncGenerator<readonly string[], void> {
    for await (const page of this.redis.scan(lockScanPattern(call.namespace, ''), call)) {
      const resources = this.resourcesIn(page, call);
      for (let from = 0; from < resources.length; from += BATCH) {
        const startedAt = performance.now();
        yield resources.slice(from, from + BATCH);
        await rest(startedAt);
      }
    }
  }

  /** Each once: a page may show a key twice, while the table is being resized. */
  private resourcesIn(page: readonly Buffer[], { namespace }: Call): string[] {
    return [...new Set(page.flatMap((redisKey) => lockResourceOf(namespace, redisKey) ?? []))];
  }
}

function isInUse({ holderCount, waitingCount, delayLeftMs }: LockSummary): boolean {
  return holderCount > 0 || waitingCount > 0 || delayLeftMs > 0;
}

function tooMany(what: string): DomainError {
  return new DomainError('OVERLOADED', what, { retryAfterMs: RETRY_AFTER_MS });
}
