import { Buffer } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import type { Call, ParkableCall } from '../redis/call.js';
import type { Guard } from '../redis/guard.js';
import { keys } from '../redis/keys.js';
import { UnexpectedReplyError } from '../redis/lua-script.js';
import type { Redis } from '../redis/redis.js';
import { isBeingLoaded, leaseOf, packTags, readEntry, versionOf, type LiveEntry } from './entry.js';
import { packGuard } from './guard.js';
import { failLeaseScript, fillScript, getOrLeaseScript, renewLeaseScript, type FillReply } from './lease-scripts.js';
import type { ParkedCalls } from './parked-calls.js';
import { COUNTER, type CacheCounts, type CacheStats } from './stats.js';
import type { CacheStoreOptions } from './store.js';
import type { Lifetime } from './write-options.js';
import type { TagTable, TagTables } from './tags.js';

/** When an entry that is still fresh is to be loaded again, by one caller. */
export type EarlyRefresh =
  | { readonly kind: 'never' }
  /** From this part of the time it is fresh, 0 to 1. */
  | { readonly kind: 'fraction'; readonly fraction: number }
  /**
   * By chance, the sooner the longer its load took: XFetch of Vattani, Chierichetti and Lowenstein, "Optimal Probabilistic
   * Cache Stampede Prevention", VLDB 2015. 1 is their optimum; more is earlier.
   */
  | { readonly kind: 'xfetch'; readonly beta: number };

export interface GetOrLeaseOptions {
  readonly leaseMs: number;
  /** How long the call may wait for somebody else's load; 0: not at all. */
  readonly waitMs: number;
  readonly early: EarlyRefresh;
}

export type LeaseOutcome =
  | { readonly status: 'hit'; readonly entry: LiveEntry }
  | { readonly status: 'leased'; readonly entry: LiveEntry | undefined; readonly leaseToken: Buffer }
  | {
      readonly status: 'stale' | 'loading';
      readonly entry: LiveEntry | undefined;
      readonly retryAfterMs: number;
      readonly failed: boolean;
    };

export interface FillOptions extends Lifetime {
  readonly tags: readonly string[];
  readonly guard: Guard | undefined;
}

export type LoadResult =
  { readonly kind: 'value'; readonly value: Buffer } | { readonly kind: 'absent' } | { readonly kind: 'unmodified' };

/** What a caller holds: the lease's own token and the tick of the tag clock from before it was granted. */
const TOKEN_BYTES = 16;
export const LEASE_TOKEN_BYTES = TOKEN_BYTES + 8;

const NO_BYTES = Buffer.alloc(0);

type Judgement = 'dead' | 'stale' | 'early' | '';

/** What one look at a key found. */
interface Look {
  readonly entry: LiveEntry | undefined;
  /** Of the entry, also of one that has run out, or of the header without one; undefined: there is nothing. */
  readonly version: number | undefined;
  readonly judgement: Judgement;
  /** Until when somebody loads, Unix ms of Redis's clock; 0: nobody. */
  readonly leaseUntilMs: number;
  readonly failed: boolean;
}

const NOTHING: Look = { entry: undefined, version: undefined, judgement: '', leaseUntilMs: 0, failed: false };

/** Leases on cache entries: of all callers in the whole fleet who miss a key, one loads it. */
export class LeaseStore {
  /** Keys for which a call of this process is asking for the lease, and what the others wait for. */
  private readonly asking = new Map<string, Promise<unknown>>();

  constructor(
    private readonly redis: Redis,
    private readonly tags: TagTables,
    private readonly parked: ParkedCalls,
    private readonly stats: CacheStats,
    private readonly options: Pick<CacheStoreOptions, 'fenceRetentionMs'>,
  ) {}

  async getOrLease(key: string, options: GetOrLeaseOptions, call: ParkableCall): Promise<LeaseOutcome> {
    const counts = this.stats.of(call.namespace);
    counts.hotKeys.read(key);
    const outcome = await this.findOrLease(key, options, call, counts);
    counts.lookedUp(outcome.entry);
    return outcome;
  }

  private async findOrLease(
    key: string,
    options: GetOrLeaseOptions,
    call: ParkableCall,
    counts: CacheCounts,
  ): Promise<LeaseOutcome> {
    const entryKey = keys.cache(call.namespace, key);
    // early enough for the answer to reach the caller before its deadline
    const giveUpAt = Math.min(performance.now() + options.waitMs, call.deadlineAt - ANSWER_MARGIN_MS);
    for (let waited = false; ;) {
      const look = await this.look(entryKey, options.early, call);
      const found = outcomeOf(look, this.redis.clock.nowMs());
      const outcome = found ?? (await this.askForLease(entryKey, look, options, call));
      // somebody else of this process asked meanwhile, or what came back has to be judged anew
      if (outcome === undefined) continue;
      const mayWait = outcome.status === 'loading' && !outcome.failed && performance.now() < giveUpAt;
      if (!mayWait) return outcome;
      const parked = await this.parked.untilChanged(
        entryKey,
        {
          isUnchanged: (packed) => isUnchanged(packed, look.version),
          leaseEndsInMs: outcome.retryAfterMs,
          giveUpAt,
        },
        call,
      );
      if (!parked) return outcome;
      if (!waited) counts.count(COUNTER.leaseWaits);
      waited = true;
    }
  }

  /** Stores what was loaded, unless something came in between. */
  async fill(
    key: string,
    leaseToken: Buffer,
    result: LoadResult,
    options: FillOptions,
    call: Call,
  ): Promise<FillReply> {
    const { ttlMs, freshMs, tags, guard } = options;
    const seq = Number(leaseToken.readBigUInt64BE(TOKEN_BYTES));
    const reply = await this.redis.run(
      fillScript.bind(
        { entry: keys.cache(call.namespace, key) },
        {
          token: tokenOf(leaseToken),
          result: result.kind,
          value: result.kind === 'value' ? result.value : NO_BYTES,
          ttlMs: String(ttlMs),
          freshMs: String(freshMs),
          tags: packTags(seq, tags),
          guard: packGuard(guard, this.options.fenceRetentionMs),
        },
      ),
      call,
    );
    this.stats.of(call.namespace).count(reply.status === 'filled' ? COUNTER.fills : COUNTER.leasesLost);
    return reply;
  }

  /** Answers false where the lease is lost. */
  renewLease(key: string, leaseToken: Buffer, leaseMs: number, call: Call): Promise<boolean> {
    const entry = keys.cache(call.namespace, key);
    return this.redis.run(
      renewLeaseScript.bind({ entry }, { token: tokenOf(leaseToken), leaseMs: String(leaseMs) }),
      call,
    );
  }

  /** Answers false where the lease is lost. */
  async failLease(key: string, leaseToken: Buffer, retryAfterMs: number, call: Call): Promise<boolean> {
    const entry = keys.cache(call.namespace, key);
    const failed = await this.redis.run(
      failLeaseScript.bind({ entry }, { token: tokenOf(leaseToken), retryAfterMs: String(retryAfterMs) }),
      call,
    );
    if (failed) this.stats.of(call.namespace).count(COUNTER.leasesFailed);
    return failed;
  }

  /** A plain read of the key, and of the tag clock in the same trip. */
  private look(entryKey: string, early: EarlyRefresh, call: Call): Promise<Look> {
    const table = this.tags.of(call.namespace);
    const clock = table.isInUse ? table.current() : undefined;
    clock?.catch(() => undefined);
    return this.redis.get(
      entryKey,
      (packed): Look | Promise<Look> => {
        const nowMs = this.redis.clock.nowMs();
        if (packed === null) return NOTHING;
        if (!Buffer.isBuffer(packed)) throw new UnexpectedReplyError('GET is no bulk string');
        const entry = readEntry(packed, nowMs);
        const { untilMs, failed } = leaseOf(packed);
        const lookWith = (tick: number | undefined): Look => ({
          entry,
          version: versionOf(packed),
          judgement: entry === undefined ? '' : judge(entry, { table, tick, early, nowMs }),
          leaseUntilMs: untilMs,
          failed,
        });
        if (entry === undefined || entry.tags.length === 0) return lookWith(undefined);
        return (clock ?? table.current()).then(lookWith);
      },
      call,
    );
  }

  /** Undefined: look again. */
  private async askForLease(
    entryKey: string,
    look: Look,
    options: GetOrLeaseOptions,
    call: Call,
  ): Promise<LeaseOutcome | undefined> {
    const other = this.asking.get(entryKey);
    if (other !== undefined) {
      await other.catch(() => undefined);
      return undefined;
    }
    const asked = this.ask(entryKey, look, options, call);
    this.asking.set(entryKey, asked);
    try {
      return await asked;
    } finally {
      this.asking.delete(entryKey);
    }
  }

  private async ask(
    entryKey: string,
    { entry, judgement }: Look,
    options: GetOrLeaseOptions,
    call: Call,
  ): Promise<LeaseOutcome | undefined> {
    const table = this.tags.of(call.namespace);
    const token = randomBytes(TOKEN_BYTES);
    const [seq, reply] = await Promise.all([
      // asked for in the same trip, and so before the source is
      table.ensureClock(),
      this.redis.run(
        getOrLeaseScript.bind(
          { entry: entryKey },
          {
            token,
            leaseMs: String(options.leaseMs),
            judged:
              entry === undefined || judgement === '' ? NO_BYTES : entry.packed.subarray(VERSION_FROM, VERSION_TO),
            judgement,
          },
        ),
        call,
      ),
    ]);
    const nowMs = this.redis.clock.nowMs();
    const there = reply.packed === undefined ? undefined : readEntry(reply.packed, nowMs);
    if (reply.status === 'leased') {
      if (call.ended) this.giveBack(entryKey, token, call.namespace);
      else this.stats.of(call.namespace).count(COUNTER.leasesGranted);
      const leaseToken = Buffer.alloc(LEASE_TOKEN_BYTES);
      token.copy(leaseToken);
      leaseToken.writeBigUInt64BE(BigInt(seq), TOKEN_BYTES);
      return { status: 'leased', entry: usable(there, entry, table, seq), leaseToken };
    }
    // another version than the one that was judged: its tags are not known to be alive
    if (there !== undefined && there.version !== entry?.version && there.tags.length > 0) return undefined;
    if (reply.status === 'hit') return there === undefined ? undefined : { status: 'hit', entry: there };
    return { status: reply.status, entry: there, retryAfterMs: reply.waitMs, failed: reply.failed };
  }

  /** Nobody will fill under a lease whose caller is gone; the next caller need not wait for its end. */
  private giveBack(entryKey: string, token: Buffer, namespace: string): void {
    const call: Call = { namespace, deadlineAt: performance.now() + GIVE_BACK_MS, ended: false };
    this.redis
      .run(failLeaseScript.bind({ entry: entryKey }, { token, retryAfterMs: '0' }), call)
      .catch(() => undefined);
  }
}

const GIVE_BACK_MS = 5_000;
const ANSWER_MARGIN_MS = 50;
/** Where the version stands in a packed entry. */
const VERSION_FROM = 4;
const VERSION_TO = 12;

/** Whether somebody still loads a key that holds nothing to use: no entry, or the one that was found dead or run out. */
function isUnchanged(packed: unknown, uselessVersion: number | undefined): boolean {
  return Buffer.isBuffer(packed) && isBeingLoaded(packed, uselessVersion);
}

function tokenOf(leaseToken: Buffer): Buffer {
  return leaseToken.subarray(0, TOKEN_BYTES);
}

/** What a plain look is enough to answer; undefined: the script has to say. */
function outcomeOf({ entry, judgement, leaseUntilMs, failed }: Look, nowMs: number): LeaseOutcome | undefined {
  const usableEntry = judgement === 'dead' ? undefined : entry;
  const leased = leaseUntilMs > nowMs;
  if (usableEntry !== undefined && (judgement === '' || (judgement === 'early' && leased))) {
    return { status: 'hit', entry: usableEntry };
  }
  if (!leased) return undefined;
  const retryAfterMs = leaseUntilMs - nowMs;
  return { status: usableEntry === undefined ? 'loading' : 'stale', entry: usableEntry, retryAfterMs, failed };
}

function judge(
  entry: LiveEntry,
  by: { table: TagTable; tick: number | undefined; early: EarlyRefresh; nowMs: number },
): Judgement {
  const verdict = by.table.judge(entry, by.tick);
  if (verdict === 'dead') return 'dead';
  if (verdict === 'stale') entry.stale = true;
  if (entry.stale) return 'stale';
  return isEarly(entry, by.early, by.nowMs) ? 'early' : '';
}

function isEarly(entry: LiveEntry, early: EarlyRefresh, nowMs: number): boolean {
  const endsAtMs = entry.freshUntilMs ?? (entry.ttlMs === undefined ? undefined : nowMs + entry.ttlMs);
  if (endsAtMs === undefined) return false;
  switch (early.kind) {
    case 'never':
      return false;
    case 'fraction':
      return nowMs >= entry.createdAtMs + early.fraction * (endsAtMs - entry.createdAtMs);
    case 'xfetch':
      // 1 - random() is never 0
      return nowMs - (entry.loadMs ?? 0) * early.beta * Math.log(1 - Math.random()) >= endsAtMs;
  }
}

/** What of a leased entry its caller may use meanwhile: a version that was not judged is judged now. */
function usable(
  there: LiveEntry | undefined,
  seen: LiveEntry | undefined,
  table: TagTable,
  clock: number,
): LiveEntry | undefined {
  if (there === undefined) return undefined;
  if (there.version === seen?.version) {
    there.stale = seen.stale;
    return there;
  }
  const verdict = table.judge(there, clock);
  if (verdict === 'stale') there.stale = true;
  return verdict === 'dead' ? undefined : there;
}
