import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** What a suite started and must end, whatever happens: in reverse, each once. */
export class Scope {
  private readonly endings: (() => Promise<void>)[] = [];

  onClose(ending: () => Promise<void>): void {
    this.endings.push(ending);
  }

  /** A folder that goes with the scope; its path is short, as the path of a socket has at most 107 bytes. */
  async folder(): Promise<string> {
    const path = await mkdtemp(join(tmpdir(), 'sk-bench-'));
    this.onClose(() => rm(path, { recursive: true, force: true }));
    return path;
  }

  async close(): Promise<void> {
    for (let ending = this.endings.pop(); ending !== undefined; ending = this.endings.pop()) await ending();
  }
}
