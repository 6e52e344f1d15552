import { openByHand } from './by-hand.js';
import type { Target } from './fixtures.js';
import { openLimitsLibrary } from './limits-library.js';
import { LoadLoop } from './load-loop.js';
import type { LoadCommand, LoadPlan, LoadReport } from './protocol.js';
import { openService } from './service-workloads.js';

/**
 * A process that makes load: argv[2] is its LoadPlan, LoadCommands come over IPC. A call that fails ends it, as no
 * figure with failed calls in it means anything.
 */

const plan = JSON.parse(process.argv[2] ?? '') as LoadPlan;
const target = await open();
const load = new LoadLoop(target.operations, plan);

async function open(): Promise<Target> {
  if (plan.target === 'library') return openLimitsLibrary(plan);
  return plan.target.startsWith('service') ? openService(plan) : openByHand(plan);
}

function report(message: LoadReport): void {
  process.send?.(message);
}

async function obey(command: LoadCommand): Promise<void> {
  switch (command.kind) {
    case 'warm':
      load.start(command.inFlight);
      await new Promise((resolve) => setTimeout(resolve, command.durationMs));
      report({ kind: 'warm' });
      break;
    case 'measure':
      report({ kind: 'measured', ...(await load.measure(command.durationMs)), latencies: load.latencies.toJSON() });
      break;
    case 'stop':
      await load.stop();
      report({ kind: 'stopped' });
      break;
    case 'pace': {
      await target.stock?.(Math.ceil((command.ratePerSecond * command.durationMs) / 1_000));
      const measured = await load.pace(command.ratePerSecond, command.durationMs);
      report({ kind: 'measured', ...measured, latencies: load.latencies.toJSON() });
      break;
    }
    case 'begin':
      load.begin(command.ratePerSecond);
      report({ kind: 'begun' });
      break;
    case 'end':
      report({ kind: 'measured', ...(await load.end()), latencies: load.latencies.toJSON() });
  }
}

process.on('message', (command: LoadCommand) => {
  void obey(command);
});
process.on('disconnect', () => {
  process.exit(0);
});
report({ kind: 'ready' });
