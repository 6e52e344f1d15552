import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkHistory, type Verdict } from './check/check-history.js';
import { writeFaultsPage } from './faults-page.js';
import { isHistory, readHistory } from './history.js';
import { ALL_ROWS } from './rows/all-rows.js';
import { runRow } from './run-row.js';

/**
 * `make chaos`: runs the rows of the fault matrix one after another and judges what they left. ROW picks one, or several by
 * what their ids begin with; SEED repeats a run; KEEP keeps also what holds; MAIN runs another build, such as one without a
 * guard, to see it fail; CHECK judges histories that were kept, and runs nothing.
 */

const SEED_MAX = 2 ** 31;

const { ROW: wanted = '', SEED: seedText = '', CHECK: kept = '', KEEP: keepAll = '', MAIN: main = '' } = process.env;
const out = process.stdout;

process.exitCode = kept === '' ? await runRows() : checkKept(kept);

async function runRows(): Promise<number> {
  const rows = ALL_ROWS.filter(({ id }) => id === wanted || id.split('-')[0] === wanted || wanted === '');
  if (rows.length === 0) {
    out.write(`no row ${wanted}; there are ${ALL_ROWS.map(({ id }) => id).join(' ')}\n`);
    return 1;
  }
  const seed = seedText === '' ? Math.floor(Math.random() * SEED_MAX) : Number(seedText);
  const folder = mkdtempSync(join(tmpdir(), 'shardkeep-chaos-'));
  out.write(`seed ${String(seed)}, histories in ${folder}\n`);
  const failed: string[] = [];
  const skipped: string[] = [];
  for (const row of rows) {
    const reason = row.skip?.();
    if (reason !== undefined) {
      out.write(`${row.id.padEnd(16)} skipped: ${reason}\n`);
      skipped.push(row.id);
      continue;
    }
    const rowFolder = join(folder, row.id);
    const startedMs = performance.now();
    try {
      await runRow(row, { seed, folder: rowFolder, ...(main === '' ? {} : { main }) });
    } catch (error) {
      out.write(`${row.id.padEnd(16)} BROKEN   ${String(error)}\n`);
      failed.push(row.id);
      continue;
    }
    const verdict = checkHistory(readHistory(rowFolder));
    report(row.id, verdict, performance.now() - startedMs);
    if (main === '') writeFaultsPage(row, verdict);
    if (verdict.violations.length > 0) failed.push(row.id);
    else if (keepAll === '') rmSync(rowFolder, { recursive: true });
  }
  out.write(`${String(rows.length)} rows, ${String(failed.length)} failed, ${String(skipped.length)} skipped\n`);
  if (failed.length > 0) out.write(`kept: ${failed.map((id) => join(folder, id)).join(' ')}\n`);
  return failed.length === 0 ? 0 : 1;
}

/** A folder of one row, or of several. */
function checkKept(folder: string): number {
  const folders = isHistory(folder)
    ? [folder]
    : readdirSync(folder)
        .map((name) => join(folder, name))
        .filter((path) => existsSync(path) && isHistory(path));
  let failed = 0;
  for (const path of folders) {
    const history = readHistory(path);
    const verdict = checkHistory(history);
    report(history.row.id, verdict, 0);
    if (verdict.violations.length > 0) failed++;
  }
  out.write(`${String(folders.length)} histories, ${String(failed)} failed\n`);
  return failed === 0 && folders.length > 0 ? 0 : 1;
}

function report(id: string, verdict: Verdict, tookMs: number): void {
  const { time, sessions, locks, limits, violations } = verdict;
  const failures = [...time.failed].map(([code, count]) => `${code} ${String(count)}`).join(' ');
  const said = [
    id.padEnd(16),
    violations.length === 0 ? 'holds   ' : 'VIOLATED',
    `${String(time.calls)} calls, failed: ${failures === '' ? 'none' : failures};`,
    `overrun ${time.worstOverrunMs.toFixed(0)} (own ${time.worstOwnOverrunMs.toFixed(0)}) ms;`,
    `recovery ${time.recoveryMs.toFixed(0)} ms;`,
    `p99 ${time.p99BeforeMs.toFixed(0)} -> ${time.p99DuringMs.toFixed(0)} ms;`,
    `sessions ${String(sessions.sessions)}, lost ${String(sessions.lostSessions)} + ${String(sessions.lostUpdates)} updates;`,
    `grants ${String(locks.grants)}, overlaps ${String(locks.overlaps)} (${locks.worstOverlapMs.toFixed(0)} ms);`,
    `most in a window ${String(limits.mostInWindow)};`,
    `RSS ${String(verdict.firstRssMb)} -> ${String(verdict.mostRssMb)} MB;`,
    ...(verdict.oldestLossMs === undefined ? [] : [`oldest loss ${verdict.oldestLossMs.toFixed(0)} ms;`]),
    ...verdict.figures,
    tookMs === 0 ? '' : `[${(tookMs / 1_000).toFixed(0)} s]`,
  ];
  out.write(`${said.join(' ')}\n`);
  for (const { invariant, what } of violations) out.write(`    ${invariant}: ${what}\n`);
}
