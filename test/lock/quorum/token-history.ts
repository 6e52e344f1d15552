/** One acquire that was granted. `sentAt` and `returnedAt` are on one clock, whatever its unit. */
export interface GrantedToken {
  readonly fencingToken: number;
  /** Tries of the same request may be answered the same token. */
  readonly lockToken: string;
  readonly sentAt: number;
  readonly returnedAt: number;
}

export interface Violations {
  /** Grants whose token another grant has, too. */
  readonly duplicates: number;
  /** Grants that were sent after another had returned, and have a lower token. */
  readonly backwards: number;
}

/** What fencing tokens promise, of one resource: none twice, and growing in the order of time where there is one. */
export function violationsOf(grants: readonly GrantedToken[]): Violations {
  const byToken = new Map<number, Set<string>>();
  for (const { fencingToken, lockToken } of grants) {
    const holders = byToken.get(fencingToken) ?? new Set();
    byToken.set(fencingToken, holders.add(lockToken));
  }
  let duplicates = 0;
  for (const holders of byToken.values()) duplicates += holders.size - 1;

  const byReturn = grants.toSorted((one, other) => one.returnedAt - other.returnedAt);
  const bySending = grants.toSorted((one, other) => one.sentAt - other.sentAt);
  let backwards = 0;
  let highest = 0;
  let returned = 0;
  for (const { sentAt, fencingToken } of bySending) {
    for (let next = byReturn[returned]; next !== undefined && next.returnedAt < sentAt; next = byReturn[++returned]) {
      highest = Math.max(highest, next.fencingToken);
    }
    if (fencingToken < highest) backwards++;
  }
  return { duplicates, backwards };
}
