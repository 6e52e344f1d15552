import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { loadNews, type LoadNews, type LoadOrder, type LoadRequest } from './load/settings.js';

const MAIN = fileURLToPath(new URL('./load/main.ts', import.meta.url));

/** The process that calls the services, as who injects faults sees it. */
export class LoadProcess {
  private calls = 0;
  private readonly listeners = new Set<(news: LoadNews) => void>();

  private constructor(private readonly child: ChildProcess) {
    child.on('message', (message) => {
      const news = loadNews.parse(message);
      if (news.news === 'calls') this.calls = news.calls;
      for (const listener of [...this.listeners]) listener(news);
    });
  }

  static start(settings: LoadOrder): LoadProcess {
    const args = ['--import', 'tsx', MAIN, JSON.stringify(settings)];
    return new LoadProcess(spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] }));
  }

  /** How many calls had ended a moment ago. */
  get ended(): number {
    return this.calls;
  }

  /** Resolves when so many more calls have ended. */
  async more(calls: number): Promise<void> {
    const target = this.calls + calls;
    await this.heard(() => this.calls >= target);
  }

  /** No actor begins anything more; resolves when all have ended what they were at. */
  async stop(): Promise<void> {
    this.ask('stop');
    await this.heard(({ news }) => news === 'stopped');
  }

  /** Looks for everything that must be there. */
  async verify(): Promise<void> {
    this.ask('verify');
    await this.heard(({ news }) => news === 'verified');
  }

  async quit(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exited = once(this.child, 'exit');
    this.ask('quit');
    await exited;
  }

  kill(): void {
    this.child.kill('SIGKILL');
  }

  private ask(request: LoadRequest): void {
    if (this.child.connected) this.child.send(request);
  }

  private heard(isIt: (news: LoadNews) => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const gone = (): void => {
        this.listeners.delete(listener);
        reject(new Error('the load ended by itself'));
      };
      const listener = (news: LoadNews): void => {
        if (!isIt(news)) return;
        this.listeners.delete(listener);
        this.child.off('exit', gone);
        resolve();
      };
      this.child.once('exit', gone);
      this.listeners.add(listener);
    });
  }
}
