import type { Database } from '../database.js';
import type { Check } from './check.js';
import type { EvidenceBook } from './evidence.js';

/** What happened, in numbers, one line for each service and the database. */
export function describeRun(evidence: EvidenceBook, database: Database): string {
  const lines: [string, string][] = [
    ['SessionService', describeSessions(evidence)],
    ['RateLimitService', describeLimits(evidence)],
    ['LockService', describeLocks(evidence)],
    ['CacheService', describeCache(evidence)],
    ['database', describeDatabase(evidence, database)],
  ];
  const failed = evidence.all('call_failed');
  if (failed.length > 0)
    lines.push(['failed calls', `${String(failed.length)}, the first: ${failed[0]?.message ?? ''}`]);
  return lines.map(([name, text]) => `  ${name.padEnd(17)} ${text}`).join('\n');
}

export function describeChecks(checks: readonly Check[]): string {
  return checks
    .map(({ name, problems, seen }) => {
      const mark = problems.length === 0 ? '  ok  ' : ' FAIL ';
      return [`${mark}  ${name} (${seen})`, ...problems.slice(0, 10).map((problem) => `          ${problem}`)].join(
        '\n',
      );
    })
    .join('\n');
}

function describeSessions(evidence: EvidenceBook): string {
  const created = evidence.all('session_created');
  const validated = evidence.all('session_validated');
  const refused = countBy(validated.filter(({ valid }) => !valid).map(({ cause }) => cause));
  const evicted = created.flatMap((login) => login.evicted).length;
  const blocked = evidence.all('login_refused').length;
  return [
    `${String(created.length)} created, ${String(evicted)} evicted, ${String(evidence.all('session_destroyed').length)} logged out`,
    `${String(blocked)} logins blocked, ${String(validated.length)} validated (refused: ${refused})`,
  ].join(', ');
}

function describeLimits(evidence: EvidenceBook): string {
  const logins = evidence.all('auth_checked');
  const messages = evidence.all('chat_checked');
  return `${share(logins)} logins and ${share(messages)} chat messages admitted`;
}

function describeLocks(evidence: EvidenceBook): string {
  const released = evidence.all('lock_released');
  const late = released.filter(({ inTime }) => !inTime).length;
  const held = evidence.all('lock_held').length;
  const granted = evidence.all('lock_granted').length;
  return `${String(granted)} granted, ${String(held)} times held by another, ${String(released.length)} released (${String(late)} after they had lapsed)`;
}

function describeCache(evidence: EvidenceBook): string {
  return `profiles: ${countBy(evidence.all('profile_read').map(({ outcome }) => outcome))}`;
}

function describeDatabase(evidence: EvidenceBook, database: Database): string {
  const trades = countBy(evidence.all('trade_ended').map(({ outcome }) => outcome));
  return `trades: ${trades}; ${String(database.staleWrites.length)} stale writes refused, ${String(database.profileLoads)} profiles loaded`;
}

function share(decisions: readonly { readonly allowed: boolean }[]): string {
  return `${String(decisions.filter(({ allowed }) => allowed).length)} of ${String(decisions.length)}`;
}

function countBy(names: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  if (counts.size === 0) return 'none';
  return [...counts].map(([name, count]) => `${String(count)} ${name}`).join(', ');
}
