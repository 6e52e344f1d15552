/**
 * What the shards report, as it happens. Times are microseconds of the machine's monotonic clock, which all processes
 * share, taken around a call: what the service did lies somewhere between `startedUs` and `answeredUs`. The checks judge
 * only by what is certain under that.
 */
export type Evidence = Span &
  (
    | { readonly kind: 'auth_checked'; readonly userId: string; readonly ip: string; readonly allowed: boolean }
    | SessionCreated
    | {
        readonly kind: 'login_refused';
        readonly userId: string;
        readonly why: 'blocked' | 'revoked' | 'limit' | 'spent';
      }
    | {
        readonly kind: 'session_validated';
        readonly sessionId: string;
        readonly valid: boolean;
        readonly cause: string;
      }
    | { readonly kind: 'session_destroyed'; readonly sessionId: string }
    | { readonly kind: 'user_banned'; readonly userId: string; readonly destroyedCount: number }
    | { readonly kind: 'chat_checked'; readonly userId: string; readonly allowed: boolean }
    | { readonly kind: 'profile_read'; readonly outcome: 'hit' | 'loaded' }
    | LockGranted
    | { readonly kind: 'lock_held'; readonly resource: string }
    /** Reported before the call, so that no release can go unreported when its shard is killed. */
    | { readonly kind: 'lock_releasing'; readonly resource: string; readonly fencingToken: number }
    | { readonly kind: 'lock_released'; readonly resource: string; readonly inTime: boolean }
    | { readonly kind: 'trade_ended'; readonly outcome: 'traded' | 'busy' | 'stale' | 'empty_handed' }
    | { readonly kind: 'call_failed'; readonly message: string }
  );

export interface Span {
  readonly shard: string;
  readonly startedUs: number;
  readonly answeredUs: number;
}

export interface SessionCreated {
  readonly kind: 'session_created';
  readonly userId: string;
  readonly sessionId: string;
  readonly evicted: readonly string[];
}

export interface LockGranted {
  readonly kind: 'lock_granted';
  readonly resource: string;
  readonly fencingToken: number;
  readonly ttlMs: number;
}

export type EvidenceOf<Kind extends Evidence['kind']> = Extract<Evidence, { readonly kind: Kind }>;

export function nowUs(): number {
  return Number(process.hrtime.bigint() / 1_000n);
}

/** All evidence of a run, by kind, in the order it came in. */
export class EvidenceBook {
  private readonly entries: Evidence[] = [];

  add(entry: Evidence): void {
    this.entries.push(entry);
  }

  all<Kind extends Evidence['kind']>(kind: Kind): EvidenceOf<Kind>[] {
    return this.entries.filter((entry): entry is EvidenceOf<Kind> => entry.kind === kind);
  }
}
