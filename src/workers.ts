import cluster, { type Worker } from 'node:cluster';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Logger } from 'pino';
import type { WorkerMessage } from './worker-message.js';
import { WorkerMetrics } from './worker-metrics.js';

export interface WorkersOptions {
  readonly count: number;
  /** For the workers, on top of this process's own environment. */
  readonly environment: Readonly<Record<string, string>>;
  readonly logger: Logger;
  readonly onUnusable: (code: number) => void;
}

interface StartedWorker {
  readonly address: string;
  /** Resolves when its Redis answers. */
  readonly ready: Promise<void>;
}

const MAIN = fileURLToPath(new URL('./main.js', import.meta.url));
const RESTART_MIN_MS = 100;
const RESTART_MAX_MS = 5_000;
/** A worker that served for so long died of something new. */
const SETTLED_MS = 10_000;

/**
 * Several processes behind one listener, each with the whole service in it. A connection stays with the worker that
 * took it, so callers need at least as many connections as there are workers. A worker that dies is replaced.
 */
export class Workers {
  /** What all of them count together, and what those counted that are gone. */
  readonly metrics = new WorkerMetrics();
  private readonly running = new Set<Worker>();
  private restartDelayMs = RESTART_MIN_MS;
  private stopping = false;
  /** Reloads run one after the other. */
  private reloading = Promise.resolve();

  constructor(private readonly options: WorkersOptions) {
    // not argv[1]: that may be a script which starts more than the service
    cluster.setupPrimary({ exec: MAIN });
  }

  /** Resolves when every worker listens. */
  async start(): Promise<StartedWorker> {
    // the first one finds out whether anybody else listens there; the others share its listener
    const first = await this.startOne();
    const others = await Promise.all(Array.from({ length: this.options.count - 1 }, () => this.startOne()));
    const ready = Promise.all([first, ...others].map((worker) => worker.ready));
    return { address: first.address, ready: ready.then(() => undefined) };
  }

  /** Replaces the workers one by one, each when its successor serves: no call is refused meanwhile. */
  reload(): Promise<void> {
    this.reloading = this.reloading.then(async () => {
      for (const old of [...this.running]) {
        if (this.stopping) return;
        const successor = await this.startOne();
        await successor.ready;
        await this.stopOne(old);
      }
    });
    return this.reloading;
  }

  /** Drains all workers at once; answers whether every call finished. */
  async stop(): Promise<boolean> {
    this.stopping = true;
    const codes = await Promise.all([...this.running].map((worker) => this.stopOne(worker)));
    return codes.every((code) => code === 0);
  }

  kill(): void {
    for (const worker of this.running) worker.process.kill('SIGKILL');
  }

  private startOne(): Promise<StartedWorker> {
    const worker = cluster.fork(this.options.environment);
    const startedAt = performance.now();
    this.running.add(worker);
    this.options.logger.info({ worker: worker.id, pid: worker.process.pid }, 'worker started');
    return new Promise((resolve) => {
      worker.once('exit', (code: number, signal: string | null) => {
        // a worker that was told to go is no longer among the running
        if (!this.running.delete(worker) || this.stopping) return;
        this.options.logger.error({ worker: worker.id, code, signal }, 'worker died');
        // whoever waits for one that died before it listened gets its replacement
        void this.replace(performance.now() - startedAt).then(resolve);
      });
      const ready = new Promise<void>((serve) => {
        worker.on('message', (message: WorkerMessage) => {
          if (message.kind === 'listening') {
            this.metrics.add(worker);
            resolve({ address: message.address, ready });
          } else if (message.kind === 'ready') serve();
          else if (message.kind === 'unusable') this.options.onUnusable(message.code);
        });
      });
    });
  }

  private async replace(livedMs: number): Promise<StartedWorker> {
    if (livedMs > SETTLED_MS) this.restartDelayMs = RESTART_MIN_MS;
    await sleep(this.restartDelayMs);
    this.restartDelayMs = Math.min(this.restartDelayMs * 2, RESTART_MAX_MS);
    // nobody waits for workers once they are told to stop
    return this.stopping ? new Promise(() => undefined) : this.startOne();
  }

  private async stopOne(worker: Worker): Promise<number> {
    this.running.delete(worker);
    if (worker.isDead()) return 0;
    const exited = once(worker, 'exit');
    worker.process.kill('SIGTERM');
    const [code] = (await exited) as [number | null];
    return code ?? 1;
  }
}
