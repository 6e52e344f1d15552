import type { Inventories, LedgerEntry, StaleWrite } from '../database.js';
import type { Check } from './check.js';
import type { EvidenceBook } from './evidence.js';
import { checkFencing, checkLockExclusion } from './lock-checks.js';
import { checkBan, checkDeadSessions, checkEvictions, checkLiveSessions } from './session-checks.js';
import { checkBruteForce, checkFloods } from './limit-checks.js';
import type { Player } from './player.js';
import type { StoryOutcome } from './story.js';

export interface Findings {
  readonly evidence: EvidenceBook;
  readonly initial: Inventories;
  readonly ledger: readonly LedgerEntry[];
  readonly staleWrites: readonly StaleWrite[];
  readonly players: readonly Player[];
  readonly story: StoryOutcome;
  /** How each process that was asked to end did so. */
  readonly exits: Readonly<Record<string, number | null>>;
  /** Sessions a user may have; undefined: a service that was running before has its own limit. */
  readonly maxSessions: number | undefined;
}

export function judge(findings: Findings): Check[] {
  const { evidence, story, maxSessions } = findings;
  return [
    checkTheEnd(story),
    checkItems(findings),
    checkFencing(evidence, findings.ledger),
    checkStaleWrites(findings),
    checkLockExclusion(evidence),
    checkDeadSessions(evidence),
    checkLiveSessions(evidence),
    checkBan(evidence, story.banned),
    ...(maxSessions === undefined ? [] : [checkEvictions(evidence, story.restless, maxSessions)]),
    checkFloods(evidence, story.floods),
    checkBruteForce(evidence, story.bruteForces),
    checkProfiles(findings),
    checkTheGameWentOn(findings),
    checkExits(findings),
  ];
}

function checkTheEnd({ brokenOff }: StoryOutcome): Check {
  const problems = brokenOff === undefined ? [] : [brokenOff];
  return { name: 'the evening came to its end', problems, seen: 'all scenes' };
}

/**
 * Replays the ledger from the beginning: what there is must not change by any trade. Looking only at the end would miss
 * an item that was lost and brought back by a later write of the whole row.
 */
function checkItems({ initial, ledger }: Findings): Check {
  const inventories = new Map(initial);
  const problems: string[] = [];
  for (const { tradeId, rows } of ledger) {
    const before = rows.flatMap(({ userId }) => inventories.get(userId) ?? []);
    const after = rows.flatMap(({ items }) => items);
    problems.push(...compareItems(before, after).map((problem) => `${problem} by trade ${tradeId}`));
    for (const { userId, items } of rows) inventories.set(userId, items);
  }
  const items = [...initial.values()].flat();
  problems.push(...compareItems(items, [...inventories.values()].flat()).map((problem) => `${problem} at the end`));
  return {
    name: 'no item was lost or doubled',
    problems,
    seen: `${String(items.length)} items, ${String(ledger.length)} trades`,
  };
}

function compareItems(before: readonly string[], after: readonly string[]): string[] {
  const surplus = new Map<string, number>();
  for (const item of before) surplus.set(item, (surplus.get(item) ?? 0) - 1);
  for (const item of after) surplus.set(item, (surplus.get(item) ?? 0) + 1);
  return [...surplus]
    .filter(([, count]) => count !== 0)
    .map(([item, count]) => `${item} ${count < 0 ? 'lost' : 'doubled'}`);
}

/** Of the two shards that lost their lease between lock and write. */
function checkStaleWrites({ story: { paused, killed }, staleWrites }: Findings): Check {
  const problems: string[] = [];
  for (const [what, disaster] of Object.entries({ paused, killed })) {
    if (disaster === undefined) problems.push(`no shard was ${what}`);
    else if (disaster.lateWrite !== 'stale') problems.push(`the ${what} shard's trade ${disaster.tradeId} was taken`);
  }
  return {
    name: 'writes after the lease were refused',
    problems,
    seen: `${String(staleWrites.length)} refused`,
  };
}

function checkProfiles({ players, evidence }: Findings): Check {
  const problems = players
    .filter(({ wrongProfiles }) => wrongProfiles > 0)
    .map(({ userId, wrongProfiles }) => `${userId} was shown ${String(wrongProfiles)} profiles of others`);
  const reads = evidence.all('profile_read');
  const hits = reads.filter(({ outcome }) => outcome === 'hit').length;
  if (hits === 0) problems.push('the cache never had what was asked for');
  return {
    name: 'the cache answered the right profile',
    problems,
    seen: `${String(reads.length)} reads, ${String(hits)} from the cache`,
  };
}

/** The surviving shard serves everyone after the other was killed. */
function checkTheGameWentOn({ players, ledger, story: { killed } }: Findings): Check {
  const lastOfTheDead = ledger.findLastIndex(({ shard }) => shard === killed?.shard);
  const afterwards = killed === undefined ? 0 : ledger.length - 1 - lastOfTheDead;
  const reconnected = players.filter(({ reconnects }) => reconnects > 0).length;
  const problems: string[] = [];
  if (reconnected === 0) problems.push('no player moved to the surviving shard');
  if (afterwards === 0) problems.push('nobody traded after the kill');
  return {
    name: 'the game went on after the kill',
    problems,
    seen: `${String(reconnected)} players reconnected with their old tokens, ${String(afterwards)} trades afterwards`,
  };
}

function checkExits({ exits }: Findings): Check {
  const problems = Object.entries(exits)
    .filter(([, code]) => code !== 0)
    .map(([name, code]) => `${name} ended with ${String(code)}`);
  return { name: 'what was asked to end did so cleanly', problems, seen: Object.keys(exits).join(' and ') };
}
