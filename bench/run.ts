import { cpus } from 'node:os';
import { readMachineBusyUs, readOwnCpuUs } from './harness/process-cpu.js';
import { keepResult, printSection, writeResults } from './harness/results.js';
import { Scope } from './harness/scope.js';
import { FULL, QUICK, type Suite } from './harness/suite.js';
import { cache } from './suites/cache.js';
import { cpu } from './suites/cpu.js';
import { growth } from './suites/growth.js';
import { limits } from './suites/limits.js';
import { locks } from './suites/locks.js';
import { mixed } from './suites/mixed.js';
import { pipeline } from './suites/pipeline.js';
import { seeds } from './suites/seeds.js';
import { serial } from './suites/serial.js';
import { sessions } from './suites/sessions.js';
import { socketio } from './suites/socketio.js';
import { unary } from './suites/unary.js';

/** Runs the suites named by the arguments, all without any; QUICK=1 is a short look that is only printed. Usually run by `make bench`. */

const SUITES: readonly Suite[] = [
  unary,
  pipeline,
  serial,
  cpu,
  mixed,
  cache,
  sessions,
  socketio,
  locks,
  limits,
  growth,
  seeds,
];
const ORDER = SUITES.map(({ name }) => name);

const named = process.argv.slice(2);
const unknown = named.filter((name) => !ORDER.includes(name));
if (unknown.length > 0) {
  process.stderr.write(`no suite ${unknown.join(', ')}; there are ${ORDER.join(', ')}\n`);
  process.exit(1);
}

const pace = (process.env.QUICK ?? '') === '' ? FULL : QUICK;
const scopes = new Set<Scope>();
process.once('SIGINT', () => {
  void Promise.all([...scopes].map((scope) => scope.close())).then(() => process.exit(130));
});

for (const suite of SUITES) {
  if (named.length > 0 && !named.includes(suite.name)) continue;
  const startedAt = performance.now();
  const busyBeforeUs = readMachineBusyUs();
  const ownBeforeUs = readOwnCpuUs();
  say(suite.name);
  const scope = new Scope();
  scopes.add(scope);
  try {
    const section = await suite.run({ scope, pace, say });
    // ended processes count as this one's own
    await scope.close();
    const availableUs = (performance.now() - startedAt) * 1_000 * cpus().length;
    const othersUs = readMachineBusyUs() - busyBeforeUs - (readOwnCpuUs() - ownBeforeUs);
    const disturbance = Math.max(0, othersUs / availableUs);
    printSection(section);
    say(`others took ${Math.round(disturbance * 100)} % of the CPU meanwhile`);
    if (!pace.quick) await keepResult(suite.name, section, disturbance);
  } finally {
    await scope.close();
    scopes.delete(scope);
  }
  say(`${suite.name} took ${Math.round((performance.now() - startedAt) / 1_000)} s`);
}
// a short look is for who runs it, and replaces no figure that was measured at length
if (!pace.quick) say(`written: ${await writeResults(ORDER)}`);

function say(line: string): void {
  process.stdout.write(`… ${line}\n`);
}
