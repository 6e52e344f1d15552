import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Verdict } from './check/check-history.js';
import type { Row } from './row.js';
import { ALL_ROWS } from './rows/all-rows.js';

const PAGE = fileURLToPath(new URL('../../docs/operations/faults.md', import.meta.url));
const BEGIN = '<!-- make chaos -->';
const END = '<!-- /make chaos -->';
const HEAD = [
  '| row | what was done | holds | calls | failed | worst overrun of a deadline | sessions lost | recovery | p99 before, meanwhile | more |',
  '| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |',
];

/** Puts the figures of a row into the table of docs/operations/faults.md, in place of its last ones. */
export function writeFaultsPage({ id, what }: Row, verdict: Verdict): void {
  const page = readFileSync(PAGE, 'utf8');
  const [before = '', rest = ''] = page.split(BEGIN);
  const [table = '', after = ''] = rest.split(END);
  const lines = new Map(
    table
      .split('\n')
      .filter((line) => /^\| F\d/.test(line))
      .map((line) => [line.split(' ')[1] ?? '', line]),
  );
  lines.set(id, `| ${id} | ${what} | ${cells(verdict).join(' | ')} |`);
  const inOrder = ALL_ROWS.flatMap((row) => lines.get(row.id) ?? []);
  writeFileSync(PAGE, [`${before}${BEGIN}`, ...HEAD, ...inOrder, `${END}${after}`].join('\n'));
}

function cells({ violations, time, sessions, locks, oldestLossMs, mostRssMb, figures }: Verdict): string[] {
  const failed = [...time.failed].map(([code, count]) => `${code} ${String(count)}`).join(', ');
  const { lostSessions, lostUpdates } = sessions;
  const more = [
    ...(lostUpdates === 0 ? [] : [`${String(lostUpdates)} sessions with lost updates`]),
    ...(oldestLossMs === undefined ? [] : [`oldest loss ${oldestLossMs.toFixed(0)} ms before`]),
    ...(locks.overlaps === 0 ? [] : [`${String(locks.overlaps)} times two holders`]),
    ...figures,
    `${String(mostRssMb)} MB`,
  ];
  return [
    violations.length === 0 ? 'yes' : '**no**',
    String(time.calls),
    failed === '' ? 'none' : failed,
    `${Math.max(0, time.worstOwnOverrunMs).toFixed(0)} ms`,
    `${String(lostSessions)} of ${String(sessions.sessions)}`,
    `${time.recoveryMs.toFixed(0)} ms`,
    `${time.p99BeforeMs.toFixed(0)}, ${time.p99DuringMs.toFixed(0)} ms`,
    more.join('; '),
  ];
}
