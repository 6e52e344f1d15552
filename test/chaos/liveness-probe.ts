import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { probeNews, type ProbeNews, type ProbeSettings } from './load/settings.js';

const MAIN = fileURLToPath(new URL('./load/probe.ts', import.meta.url));
const EVERY_MS = 100;
/** As k8s/base has it: `timeoutSeconds` of the liveness probe. */
export const PROBE_TIMEOUT_MS = 3_000;

/** The process that asks a service for liveness, again and again, as who injects faults sees it. */
export class LivenessProbe {
  private constructor(private readonly child: ChildProcess) {}

  /** Resolves when it has asked once. */
  static async start(address: string): Promise<LivenessProbe> {
    const settings: ProbeSettings = { address, everyMs: EVERY_MS, timeoutMs: PROBE_TIMEOUT_MS };
    const args = ['--import', 'tsx', MAIN, JSON.stringify(settings)];
    const probe = new LivenessProbe(spawn(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] }));
    await probe.said();
    return probe;
  }

  async stop(): Promise<ProbeNews> {
    const said = this.said();
    this.child.send('stop');
    return said;
  }

  kill(): void {
    this.child.kill('SIGKILL');
  }

  private async said(): Promise<ProbeNews> {
    const [news] = (await once(this.child, 'message')) as readonly unknown[];
    return probeNews.parse(news);
  }
}
