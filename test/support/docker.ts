import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { promisify } from 'node:util';

/** Containers of the image under test, by the command line that its users have. */

const run = promisify(execFile);
const MEBIBYTE = 1_048_576;

/** What the command printed; rejects with its exit status as `code`. */
export async function docker(...args: readonly string[]): Promise<string> {
  const { stdout } = await run('docker', [...args], { maxBuffer: 16 * MEBIBYTE });
  return stdout.trim();
}

/** The exit status of a container that ends by itself, and what it printed. */
export async function exitOf(args: readonly string[]): Promise<{ readonly code: unknown; readonly output: string }> {
  try {
    return { code: 0, output: await docker('run', '--rm', ...args) };
  } catch (error) {
    const { code, stdout, stderr } = error as { code?: unknown; stdout?: string; stderr?: string };
    return { code, output: `${stdout ?? ''}${stderr ?? ''}` };
  }
}

/** A network of a test with its containers, and a volume of its name if there is one; `remove` leaves nothing of them. */
export class ContainerNetwork {
  private readonly containers: string[] = [];

  private constructor(readonly name: string) {}

  static async create(): Promise<ContainerNetwork> {
    const name = `shardkeep-test-${randomBytes(6).toString('hex')}`;
    await docker('network', 'create', name);
    return new ContainerNetwork(name);
  }

  /** Starts a container that the others reach by its alias; answers its id. */
  async start(alias: string, ...args: readonly string[]): Promise<string> {
    const id = await docker('run', '--detach', '--network', this.name, '--network-alias', alias, ...args);
    this.containers.push(id);
    return id;
  }

  async remove(): Promise<void> {
    if (this.containers.length > 0) await docker('rm', '--force', '--volumes', ...this.containers);
    await docker('volume', 'rm', '--force', this.name);
    await docker('network', 'rm', this.name);
  }
}

/** Resolves when the container's health check says so; rejects where it ended before. */
export async function healthy(id: string): Promise<void> {
  for (;;) {
    const state = await docker('inspect', '--format', '{{.State.Status}} {{.State.Health.Status}}', id);
    if (state === 'running healthy') return;
    if (!state.startsWith('running')) throw new Error(`${state}: ${(await exitOf(['logs', id])).output}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

/** The exit status of a container that was told to stop, or ended. */
export async function waitFor(id: string): Promise<number> {
  return Number(await docker('wait', id));
}
