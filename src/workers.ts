import cluster, { type Worker } from 'node:cluster';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Logger } from 'pino';
import type { ProcessHealth } from './admin/health-report.js';
import type { WorkerMessage } from './worker-message.js';
import { askForHealth } from './worker-health.js';
import { WorkerMetrics } from './worker-metrics.js';

export interface WorkersOptions {
  readonly count: number;
  /** How long a worker may take to drain. */
  readonly drainTimeoutMs: number;
  /** For the workers, on top of this process's own environment. */
  readonly environment: Readonly<Record<string, string>>;
  readonly logger: Logger;
  readonly onUnusable: (code: number) => void;
}

interface StartedWorker {
  readonly address: string;
  /** Resolves when its Redis answers: true; or when it died before: false. */
  readonly ready: Promise<boolean>;
}

const MAIN = fileURLToPath(new URL('./main.js', import.meta.url));
const RESTART_MIN_MS = 100;
const RESTART_MAX_MS = 5_000;
/** A worker that served for so long died of something new. */
const SETTLED_MS = 10_000;
/** What a worker may take beyond its drain before it counts as hung. */
const HUNG_MS = 3_000;

/**
 * Several processes behind one listener, each with the whole service in it. A connection stays with the worker that
 * took it, so callers need at least as many connections as there are workers. A worker that dies is replaced: whatever
 * happens, there are `count` of them, and one more while a reload replaces one.
 */
export class Workers {
  /** What all of them count together, and what those counted that are gone. */
  readonly metrics = new WorkerMetrics();
  /** Those that were not told to go. */
  private readonly running = new Set<Worker>();
  /** Those that were, with their exit status to come. */
  private readonly leaving = new Map<Worker, Promise<number>>();
  private readonly servingWorkers = new Set<Worker>();
  private replacements = 0;
  private restartDelayMs = RESTART_MIN_MS;
  private stopping = false;
  /** Reloads run one after the other. */
  private reloading = Promise.resolve();
  private allReady: () => void = () => undefined;

  constructor(private readonly options: WorkersOptions) {
    // not argv[1]: that may be a script which starts more than the service
    cluster.setupPrimary({ exec: MAIN });
  }

  /** Resolves when every worker listens; `ready` when Redis answers each of them. */
  async start(): Promise<{ readonly address: string; readonly ready: Promise<void> }> {
    const ready = new Promise<void>((resolve) => {
      this.allReady = resolve;
    });
    // the first one finds out whether anybody else listens there; the others share its listener
    const { address } = await this.startListening();
    await Promise.all(Array.from({ length: this.options.count - 1 }, () => this.startListening()));
    return { address, ready };
  }

  /** Replaces the workers one by one, each when its successor serves: no call is refused meanwhile. */
  reload(): Promise<void> {
    this.reloading = this.reloading.then(async () => {
      for (const old of [...this.running]) {
        // it died, and has a successor already
        if (!this.running.has(old)) continue;
        await this.startServing();
        if (this.stopping) return;
        if (this.running.has(old)) await this.stopOne(old);
        this.fillUp();
      }
    });
    return this.reloading;
  }

  /**
   * How those are that have been ready and were not told to go: what starts is no part of it yet, and what died is none any
   * more. Undefined stands for one that says nothing in time.
   */
  health(withRedis: boolean): Promise<readonly (ProcessHealth | undefined)[]> {
    const serving = [...this.servingWorkers].filter((worker) => this.running.has(worker));
    return Promise.all(serving.map((worker) => askForHealth(worker, withRedis)));
  }

  /** Drains all workers at once; answers whether every call finished. */
  async stop(): Promise<boolean> {
    this.stopping = true;
    for (const worker of this.running) void this.stopOne(worker);
    const codes = await Promise.all(this.leaving.values());
    return codes.every((code) => code === 0);
  }

  kill(): void {
    for (const worker of [...this.running, ...this.leaving.keys()]) worker.process.kill('SIGKILL');
  }

  /** Starts one after the other until one listens. */
  private async startListening(): Promise<StartedWorker> {
    for (;;) {
      const started = await this.startOne();
      if (started !== undefined) return started;
      await this.backOff();
    }
  }

  /** Starts one after the other until one serves, or nobody shall. */
  private async startServing(): Promise<void> {
    while (!this.stopping) {
      const started = await this.startOne();
      if (started !== undefined && (await started.ready)) return;
      await this.backOff();
    }
  }

  /** Resolves when the worker listens; undefined: it died before. */
  private startOne(): Promise<StartedWorker | undefined> {
    const { logger } = this.options;
    const worker = cluster.fork(this.options.environment);
    const startedAt = performance.now();
    this.running.add(worker);
    logger.info({ worker: worker.id, pid: worker.process.pid }, 'worker started');
    return new Promise((resolve) => {
      const ready = new Promise<boolean>((serves) => {
        worker.once('exit', (code: number, signal: string | null) => {
          this.servingWorkers.delete(worker);
          serves(false);
          resolve(undefined);
          // one that was told to go is no longer among the running
          if (!this.running.delete(worker) || this.stopping) return;
          logger.error({ worker: worker.id, code, signal }, 'worker died');
          if (performance.now() - startedAt > SETTLED_MS) this.restartDelayMs = RESTART_MIN_MS;
          this.fillUp();
        });
        worker.on('message', (message: WorkerMessage) => {
          if (message.kind === 'listening') {
            this.metrics.add(worker);
            resolve({ address: message.address, ready });
          } else if (message.kind === 'ready') {
            this.servingWorkers.add(worker);
            if (this.servingWorkers.size >= this.options.count) this.allReady();
            serves(true);
          } else if (message.kind === 'unusable') this.options.onUnusable(message.code);
        });
      });
    });
  }

  /** Starts what is missing. */
  private fillUp(): void {
    while (!this.stopping && this.running.size + this.replacements < this.options.count) {
      this.replacements++;
      void this.backOff().then(() => {
        this.replacements--;
        if (!this.stopping && this.running.size < this.options.count) void this.startOne();
      });
    }
  }

  private async backOff(): Promise<void> {
    await sleep(this.restartDelayMs);
    this.restartDelayMs = Math.min(this.restartDelayMs * 2, RESTART_MAX_MS);
  }

  /** Drains a worker; answers its exit status, 1 for one that had to be killed. */
  private stopOne(worker: Worker): Promise<number> {
    this.running.delete(worker);
    const left = this.leave(worker).finally(() => {
      this.leaving.delete(worker);
    });
    this.leaving.set(worker, left);
    return left;
  }

  private async leave(worker: Worker): Promise<number> {
    if (worker.isDead()) return 0;
    const exited = once(worker, 'exit');
    worker.process.kill('SIGTERM');
    const timer = setTimeout(() => {
      this.options.logger.error({ worker: worker.id }, 'worker hangs');
      worker.process.kill('SIGKILL');
    }, this.options.drainTimeoutMs + HUNG_MS);
    const [code] = (await exited) as [number | null];
    clearTimeout(timer);
    return code ?? 1;
  }
}
