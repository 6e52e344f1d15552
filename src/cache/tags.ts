import { performance } from 'node:perf_hooks';
import type { Call } from '../redis/call.js';
import { keys } from '../redis/keys.js';
import { UnexpectedReplyError } from '../redis/lua-script.js';
import type { Redis } from '../redis/redis.js';
import type { LiveEntry } from './entry.js';
import { invalidateTagsScript, readTagsScript } from './tag-scripts.js';

export type InvalidationMode = 'hard' | 'soft';

/** The part of KeyTracking that follows the clock of a table. */
export interface ClockTracking {
  read(key: string, onChange: () => void, command: readonly string[]): Promise<unknown>;
}

/** As many tags the table of a namespace remembers; an invalidation beyond makes entries of the longest ago miss. */
const MAX_TAGS = 100_000;
const PAGE_MEMBERS = 5_000;
/** After so long without a tagged entry the clock is read only when one comes. */
const IN_USE_MS = 60_000;
const SHARED_READ_MS = 5_000;

const HARD = 'h';

/**
 * This process's copy of a namespace's tag table (`lua/lib/tag-table.lua`). Whoever reads a tagged entry asks Redis for the
 * table's clock in the same trip, and only when that moved for what changed.
 */
export class TagTable {
  private readonly key: string;
  private readonly hard = new Map<string, number>();
  private readonly soft = new Map<string, number>();
  private clock = 0;
  private floor = 0;
  /** The read that everybody shares who asks in the same turn of the event loop. */
  private reading: Promise<number | undefined> | undefined;
  private usedAt = Number.NEGATIVE_INFINITY;

  /** The clock as Redis told it last, while it would tell of a change. */
  private followed: number | undefined;
  private followAttempt: object | undefined;

  constructor(
    private readonly redis: Redis,
    readonly namespace: string,
    private readonly tracking: ClockTracking | undefined,
  ) {
    this.key = keys.tags(namespace);
  }

  /** Whether reads should ask for the clock beforehand, because entries have tags lately. */
  get isInUse(): boolean {
    return performance.now() - this.usedAt < IN_USE_MS;
  }

  /** Brings the copy up to now; answers the clock, undefined where Redis has no table. */
  current(): Promise<number | undefined> {
    this.usedAt = performance.now();
    if (this.reading === undefined) {
      this.reading = this.read();
      process.nextTick(() => {
        this.reading = undefined;
      });
    }
    return this.reading;
  }

  /** The clock to take as `seq`, from a table that is made where there is none. */
  async ensureClock(): Promise<number> {
    return (await this.current()) ?? (await this.invalidate([], 'hard', this.sharedCall()));
  }

  /**
   * The clock without asking for it, while Redis would push a change of it: for what is answered from memory. Undefined:
   * not known now; the next call may know.
   */
  followedClock(): number | undefined {
    if (this.followed === undefined && this.followAttempt === undefined) this.follow();
    return this.followed;
  }

  /** What the copy says of an entry, after `current` was awaited: its answer is `clock`. */
  judge(entry: LiveEntry, clock: number | undefined): 'live' | 'stale' | 'dead' {
    const { seq, tags } = entry;
    if (tags.length === 0) return 'live';
    if (clock === undefined || seq < this.floor) return 'dead';
    let verdict: 'live' | 'stale' = 'live';
    for (const tag of tags) {
      if (seq < (this.hard.get(tag) ?? 0)) return 'dead';
      if (seq < (this.soft.get(tag) ?? 0)) verdict = 'stale';
    }
    return verdict;
  }

  /** Answers the tick of the invalidation. */
  async invalidate(tags: readonly string[], mode: InvalidationMode, call: Call): Promise<number> {
    try {
      return await this.redis.run(
        invalidateTagsScript.bind({ tags: this.key }, { mode, maxTags: String(MAX_TAGS), '...tags': tags }),
        call,
      );
    } finally {
      // whoever asked for it must not be answered from before it, though the push is still on its way
      this.unfollow();
    }
  }

  private follow(): void {
    const { key, tracking } = this;
    if (tracking === undefined) return;
    const attempt = {};
    this.followAttempt = attempt;
    const isCurrent = (): boolean => this.followAttempt === attempt;
    const onChange = (): void => {
      if (isCurrent()) this.unfollow();
    };
    tracking
      .read(key, onChange, ['ZSCORE', key, 'clock'])
      .then(() => this.current())
      .then((clock) => {
        if (isCurrent()) this.followed = clock;
      })
      .catch(onChange);
  }

  private unfollow(): void {
    this.followed = undefined;
    this.followAttempt = undefined;
  }

  private async read(): Promise<number | undefined> {
    const call = this.sharedCall();
    const score = await this.redis.read(this.key, ['ZSCORE', this.key, 'clock'], call);
    if (score === null) return undefined;
    const clock = Number(score);
    if (!Number.isSafeInteger(clock)) throw new UnexpectedReplyError('ZSCORE is no tick');
    // a table that lost its end: what the copy knows beyond it never was
    if (clock < this.clock) this.forget();
    while (this.clock < clock) if (!(await this.catchUp(call))) return undefined;
    return clock;
  }

  /** Reads a page of what changed; answers false where there is no table any more. */
  private async catchUp(call: Call): Promise<boolean> {
    const changes = await this.redis.run(
      readTagsScript.bind({ tags: this.key }, { since: String(this.clock), limit: String(PAGE_MEMBERS) }),
      call,
    );
    if (changes === undefined) return false;
    this.floor = Math.max(this.floor, changes.floor);
    for (const { member, tick } of changes.members) {
      (member.startsWith(HARD) ? this.hard : this.soft).set(member.slice(1), tick);
    }
    this.clock = Math.max(this.clock, changes.upTo);
    this.dropBelowFloor();
    return true;
  }

  private dropBelowFloor(): void {
    if (this.hard.size + this.soft.size <= 2 * MAX_TAGS) return;
    for (const ticks of [this.hard, this.soft]) {
      for (const [tag, tick] of ticks) if (tick <= this.floor) ticks.delete(tag);
    }
  }

  private forget(): void {
    this.hard.clear();
    this.soft.clear();
    this.clock = 0;
    this.floor = 0;
  }

  /** For reads that several calls wait for: it must not end with one of them. */
  private sharedCall(): Call {
    return { namespace: this.namespace, deadlineAt: performance.now() + SHARED_READ_MS, ended: false };
  }
}

/** The tag tables of all namespaces. */
export class TagTables {
  private readonly tables = new Map<string, TagTable>();

  /** Without tracking nothing tagged is answered from memory. */
  constructor(
    private readonly redis: Redis,
    private readonly tracking?: ClockTracking,
  ) {}

  of(namespace: string): TagTable {
    let table = this.tables.get(namespace);
    if (table === undefined) {
      table = new TagTable(this.redis, namespace, this.tracking);
      this.tables.set(namespace, table);
    }
    return table;
  }
}
