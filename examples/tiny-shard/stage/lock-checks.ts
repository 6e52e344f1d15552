import type { LedgerEntry } from '../database.js';
import type { Check } from './check.js';
import type { EvidenceBook, EvidenceOf } from './evidence.js';

type Grant = EvidenceOf<'lock_granted'>;

/**
 * Tokens grow with every grant: of two grants of a resource where the one was asked for after the other was answered, the
 * later has the greater token. And the database took each row's writes in the order of their tokens.
 */
export function checkFencing(evidence: EvidenceBook, ledger: readonly LedgerEntry[]): Check {
  const grants = evidence.all('lock_granted');
  const problems: string[] = [];
  for (const [resource, ofResource] of groupByResource(grants)) {
    const tokens = new Set(ofResource.map(({ fencingToken }) => fencingToken));
    if (tokens.size < ofResource.length) problems.push(`${resource}: a token was granted twice`);
    for (const later of ofResource) {
      const higher = ofResource.find(
        (earlier) => earlier.answeredUs < later.startedUs && earlier.fencingToken >= later.fencingToken,
      );
      if (higher === undefined) continue;
      problems.push(`${resource}: ${String(later.fencingToken)} was granted after ${String(higher.fencingToken)}`);
    }
  }
  const written = new Map<string, number>();
  for (const { userId, fencingToken } of ledger.flatMap(({ rows }) => rows)) {
    const before = written.get(userId) ?? 0;
    if (fencingToken <= before)
      problems.push(`${userId}: written with ${String(fencingToken)} after ${String(before)}`);
    written.set(userId, fencingToken);
  }
  return {
    name: 'fencing tokens strictly grew for every inventory',
    problems,
    seen: `${String(grants.length)} grants of ${String(written.size)} inventories`,
  };
}

/** Redis keeps the lease by another clock than ours; half a percent is many times what two clocks drift apart. */
const CLOCK_SLACK = 0.995;

/** Nobody was granted a lock while another certainly held it: after its grant, before its release and its lease's end. */
export function checkLockExclusion(evidence: EvidenceBook): Check {
  const grants = evidence.all('lock_granted');
  const releasingUs = new Map(
    evidence.all('lock_releasing').map((entry) => [grantKey(entry.resource, entry.fencingToken), entry.startedUs]),
  );
  const problems: string[] = [];
  for (const [resource, ofResource] of groupByResource(grants)) {
    for (const holder of ofResource) {
      // the lease began no earlier than it was asked for
      const leaseEndUs = holder.startedUs + holder.ttlMs * 1_000 * CLOCK_SLACK;
      const endUs = Math.min(leaseEndUs, releasingUs.get(grantKey(resource, holder.fencingToken)) ?? Infinity);
      const intruder = ofResource.find((other) => other.startedUs > holder.answeredUs && other.answeredUs < endUs);
      if (intruder === undefined) continue;
      problems.push(`${resource}: granted to ${intruder.shard} while ${holder.shard} held it`);
    }
  }
  return {
    name: 'no lock was granted while another held it',
    problems,
    seen: `${String(grants.length)} grants, ${String(evidence.all('lock_held').length)} times held by another`,
  };
}

function groupByResource(grants: readonly Grant[]): Map<string, Grant[]> {
  const groups = new Map<string, Grant[]>();
  for (const grant of grants) {
    const group = groups.get(grant.resource);
    if (group === undefined) groups.set(grant.resource, [grant]);
    else group.push(grant);
  }
  return groups;
}

function grantKey(resource: string, fencingToken: number): string {
  return `${resource} ${String(fencingToken)}`;
}
