import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type {
  ContentionPlan,
  ContentionReport,
  EchoPlan,
  EchoReport,
  LoadCommand,
  LoadPlan,
  LoadReport,
} from '../programs/protocol.js';
import { LatencyHistogram } from './latency-histogram.js';
import type { Scope } from './scope.js';
import { ROOT } from './servers.js';

/** Compiled: what is measured is plain JavaScript, as users run it, without a loader in its process. */
const PROGRAMS = join(ROOT, 'dist/bench/bench/programs');

function startProgram(scope: Scope, name: string, plan: LoadPlan | EchoPlan | ContentionPlan): ChildProcess {
  const file = join(PROGRAMS, `${name}.js`);
  if (!existsSync(file)) throw new Error(`${name} is not compiled; run it by make`);
  const child = fork(file, [JSON.stringify(plan)], { execArgv: [], stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  scope.onClose(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  });
  return child;
}

/** Answers the next message; rejects when the process ends before it. */
function nextMessage(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null): void => {
      reject(new Error(`a bench program ended with ${String(code)}`));
    };
    child.once('exit', onExit);
    child.once('message', (message) => {
      child.off('exit', onExit);
      resolve(message);
    });
  });
}

function pidOf({ pid }: ChildProcess): number {
  if (pid === undefined) throw new Error('a bench program has no process');
  return pid;
}

export interface EchoServer {
  readonly address: string;
  readonly pid: number;
}

export async function startEchoServer(scope: Scope, plan: EchoPlan): Promise<EchoServer> {
  const child = startProgram(scope, 'echo-server', plan);
  const { address } = (await nextMessage(child)) as EchoReport;
  return { address, pid: pidOf(child) };
}

export type Contention = Extract<ContentionReport, { kind: 'contended' }>;

/** A process of contenders for a lock; answers what one round of them took. */
export async function startContenders(scope: Scope, plan: ContentionPlan): Promise<() => Promise<Contention>> {
  const child = startProgram(scope, 'lock-contention', plan);
  await nextMessage(child);
  return async () => {
    const answer = nextMessage(child);
    child.send('contend');
    return (await answer) as Contention;
  };
}

export interface LoadFigures {
  readonly operations: number;
  readonly durationMs: number;
  readonly latencies: LatencyHistogram;
}

/** A process that makes load; it stays connected and warm between rounds. */
export class LoadProcess {
  private constructor(private readonly child: ChildProcess) {}

  static async start(scope: Scope, plan: LoadPlan): Promise<LoadProcess> {
    const load = new LoadProcess(startProgram(scope, 'load-client', plan));
    await load.expect('ready');
    return load;
  }

  get pid(): number {
    return pidOf(this.child);
  }

  async warm(inFlight: number, durationMs: number): Promise<void> {
    await this.tell({ kind: 'warm', inFlight, durationMs }, 'warm');
  }

  measure(durationMs: number): Promise<LoadFigures> {
    return this.figures({ kind: 'measure', durationMs });
  }

  pace(ratePerSecond: number, durationMs: number): Promise<LoadFigures> {
    return this.figures({ kind: 'pace', ratePerSecond, durationMs });
  }

  /** Sends calls at a rate until `end`, beside something else. */
  async begin(ratePerSecond: number): Promise<void> {
    await this.tell({ kind: 'begin', ratePerSecond }, 'begun');
  }

  end(): Promise<LoadFigures> {
    return this.figures({ kind: 'end' });
  }

  async stop(): Promise<void> {
    await this.tell({ kind: 'stop' }, 'stopped');
  }

  /** Ends the process. */
  async close(): Promise<void> {
    const exited = once(this.child, 'exit');
    this.child.disconnect();
    await exited;
  }

  private async figures(command: LoadCommand): Promise<LoadFigures> {
    const report = await this.tell(command, 'measured');
    const { operations, durationMs, latencies } = report;
    return { operations, durationMs, latencies: new LatencyHistogram(latencies) };
  }

  private tell<Kind extends LoadReport['kind']>(
    command: LoadCommand,
    answer: Kind,
  ): Promise<Extract<LoadReport, { kind: Kind }>> {
    const reported = this.expect(answer);
    this.child.send(command);
    return reported;
  }

  private async expect<Kind extends LoadReport['kind']>(kind: Kind): Promise<Extract<LoadReport, { kind: Kind }>> {
    const report = (await nextMessage(this.child)) as LoadReport;
    if (report.kind !== kind) throw new Error(`expected ${kind}, not ${report.kind}`);
    return report as Extract<LoadReport, { kind: Kind }>;
  }
}
