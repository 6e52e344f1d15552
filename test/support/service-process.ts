import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { TestChannel } from './client.js';
import { PATIENT_TIMEOUT, randomNamespace, type Environment } from './namespace.js';
import { mustUseServiceUser } from './redis-user.js';

/** The built service (`make build`) as a process of its own, for what cannot be seen from inside: exits, signals, crashes. */

const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
const PATIENCE_MS = 40_000;

/** One line of the service's log. */
export type LogLine = Readonly<Record<string, unknown>> & { readonly msg?: string };

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface ServiceProcess {
  readonly pid: number;
  readonly namespace: string;
  /** What was logged so far. */
  readonly logs: readonly LogLine[];
  /** What came on standard output that is no log line, and on standard error. */
  readonly output: readonly string[];
  /** Resolves when the process is gone; never rejects. */
  readonly exited: Promise<Exit>;
  readonly running: boolean;
  /** Where the API listens; known once the service said `listening`. */
  readonly address: string;
  /** Answers the first line that was or will be logged and matches; rejects when the process goes without it. */
  log(matching: string | ((line: LogLine) => boolean)): Promise<LogLine>;
  /** A channel to the API; closed by `stop`. */
  channel(): TestChannel;
  signal(signal: NodeJS.Signals): void;
  /** To the whole process group, as a terminal does with Ctrl-C; needs `ownGroup`. */
  signalGroup(signal: NodeJS.Signals): void;
  /** Nobody reads its standard output any more. */
  closeOutput(): void;
  /** Ends the process and waits for it. */
  stop(signal?: NodeJS.Signals): Promise<Exit>;
}

export interface ServiceProcessOptions {
  /** The log line to wait for: `ready` (every Redis answers), `listening`, or nothing. */
  readonly until?: 'ready' | 'listening' | 'nothing';
  /** Makes it the leader of a process group. */
  readonly ownGroup?: boolean;
  /** How many files and sockets it may have open. */
  readonly maxOpenFiles?: number;
  /** Another build than dist/, and what node is to load before it. */
  readonly main?: string;
  readonly nodeArgs?: readonly string[];
}

const started = new Set<ServiceProcess>();

/** Starts dist/main.js with these settings and none of this process's own. */
export async function startServiceProcess(
  env: Environment,
  options: ServiceProcessOptions = {},
): Promise<ServiceProcess> {
  const { until = 'ready', ownGroup = false, maxOpenFiles, main = MAIN, nodeArgs = [] } = options;
  mustUseServiceUser(env);
  if (!existsSync(main)) throw new Error(`${main} is not there; run \`make build\` first`);
  const namespace = env.NAMESPACE ?? randomNamespace();
  const node = [process.execPath, ...nodeArgs, main];
  const bounded = ['/bin/sh', '-c', 'ulimit -n "$0" && exec "$@"', String(maxOpenFiles), ...node];
  const [command = '', ...args] = maxOpenFiles === undefined ? node : bounded;
  const child = spawn(command, args, {
    detached: ownGroup,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...ownSettings(),
      NODE_ENV: 'test',
      GRPC_LISTEN: '127.0.0.1:0',
      NAMESPACE: namespace,
      ...PATIENT_TIMEOUT,
      ...env,
    },
  });
  const service = new SpawnedService(child, namespace);
  started.add(service);
  if (until !== 'nothing') await service.log(until);
  return service;
}

/** Kills what a test left running; for `afterEach`. */
export async function killServiceProcesses(): Promise<void> {
  const left = [...started];
  started.clear();
  await Promise.all(left.map((service) => service.stop('SIGKILL')));
}

/** What a process needs from its surroundings; the settings of the service are not among it. */
function ownSettings(): Record<string, string> {
  const names = ['PATH', 'HOME', 'TMPDIR', 'REDIS_SERVER_BIN'];
  return Object.fromEntries(
    names.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
  );
}

class SpawnedService implements ServiceProcess {
  readonly logs: LogLine[] = [];
  readonly output: string[] = [];
  readonly exited: Promise<Exit>;
  private exit: Exit | undefined;
  private readonly channels: TestChannel[] = [];
  private readonly watchers = new Set<() => void>();

  constructor(
    private readonly child: ChildProcess,
    readonly namespace: string,
  ) {
    const { stdout, stderr } = child;
    if (stdout === null || stderr === null) throw new Error('the process has no output');
    createInterface(stdout).on('line', (line) => {
      this.read(line);
    });
    createInterface(stderr).on('line', (line) => {
      this.output.push(line);
    });
    this.exited = new Promise((resolve) => {
      // after `exit` the last lines may still be on their way; `close` comes behind them
      child.on('close', (code, signal) => {
        this.exit = { code, signal };
        resolve(this.exit);
        this.notify();
      });
    });
  }

  closeOutput(): void {
    this.child.stdout?.destroy();
  }

  get pid(): number {
    if (this.child.pid === undefined) throw new Error('not started');
    return this.child.pid;
  }

  get running(): boolean {
    return this.exit === undefined;
  }

  get address(): string {
    const address = this.logs.find((line) => typeof line.address === 'string' && isUp(line))?.address;
    if (typeof address !== 'string') throw new Error('the service does not listen');
    return address;
  }

  async log(matching: string | ((line: LogLine) => boolean)): Promise<LogLine> {
    const matches = typeof matching === 'string' ? (line: LogLine): boolean => line.msg === matching : matching;
    return new Promise((resolve, reject) => {
      const settle = (finish: () => void): void => {
        clearTimeout(timer);
        this.watchers.delete(look);
        finish();
      };
      const fail = (why: string): void => {
        const seen = [...this.logs.map((line) => JSON.stringify(line)), ...this.output].slice(-20).join('\n');
        settle(() => {
          reject(new Error(`${why} before it logged ${String(matching)}; it said:\n${seen}`));
        });
      };
      const look = (): void => {
        const line = this.logs.find(matches);
        if (line !== undefined) {
          settle(() => {
            resolve(line);
          });
        } else if (this.exit !== undefined) fail(`the service ended with ${JSON.stringify(this.exit)}`);
      };
      const timer = setTimeout(() => {
        fail('patience ended');
      }, PATIENCE_MS);
      this.watchers.add(look);
      look();
    });
  }

  channel(): TestChannel {
    const channel = new TestChannel(this.address);
    this.channels.push(channel);
    return channel;
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  signalGroup(signal: NodeJS.Signals): void {
    process.kill(-this.pid, signal);
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Exit> {
    for (const channel of this.channels) channel.close();
    if (this.running) {
      this.child.kill(signal);
      // a stopped process takes no other signal
      this.child.kill('SIGCONT');
    }
    return this.exited;
  }

  private read(line: string): void {
    const parsed = parseLog(line);
    if (parsed === undefined) this.output.push(line);
    else this.logs.push(parsed);
    this.notify();
  }

  private notify(): void {
    for (const watcher of [...this.watchers]) watcher();
  }
}

function isUp({ msg }: LogLine): boolean {
  return msg === 'listening' || msg === 'ready';
}

function parseLog(line: string): LogLine | undefined {
  if (!line.startsWith('{')) return undefined;
  try {
    return JSON.parse(line) as LogLine;
  } catch {
    return undefined;
  }
}
