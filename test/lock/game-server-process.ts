import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { AcquireLockRequest, AcquireLockStatus } from '../../src/gen/shardkeep/lock/v1/lock.js';

const PROGRAM = fileURLToPath(new URL('game-server.mjs', import.meta.url));

export interface GameGrant {
  readonly status: AcquireLockStatus;
  readonly lockToken: string;
  readonly fencingToken: bigint;
}

export interface GuardedWrite {
  readonly key: string;
  readonly sessionId: string;
  readonly guard: { readonly resource: string; readonly fencingToken: bigint } | undefined;
  readonly text: string;
}

const started = new Set<GameServer>();

/** A caller of the service in a process of its own, for what kills and stops do. */
export class GameServer {
  private readonly child: ChildProcess;
  private readonly asked = new Map<number, (done: unknown) => void>();
  private orders = 0;

  private constructor(address: string) {
    // bigints need it
    this.child = fork(PROGRAM, [address], { serialization: 'advanced', execArgv: [] });
    started.add(this);
  }

  static async start(address: string): Promise<GameServer> {
    const server = new GameServer(address);
    await once(server.child, 'message');
    server.child.on('message', (message) => {
      const { id, done } = message as { id: number; done: unknown };
      server.asked.get(id)?.(done);
    });
    return server;
  }

  /** Takes a lock by its HoldLocks stream. Never answers when the process is killed. */
  hold(request: Partial<AcquireLockRequest>, { graceMs = 0, delayMs = 0 } = {}): Promise<GameGrant> {
    return this.order('hold', { request, graceMs, delayMs }) as Promise<GameGrant>;
  }

  /** Takes a lock by AcquireLock. */
  acquire(request: Partial<AcquireLockRequest>): Promise<GameGrant> {
    return this.order('acquire', { request }) as Promise<GameGrant>;
  }

  /** Writes into the cache and the session; answers for each `OK`, or the code and the reason. */
  write(write: GuardedWrite): Promise<readonly [inCache: string, inSession: string]> {
    return this.order('write', write) as Promise<readonly [string, string]>;
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  /** Kills it, and waits until it is gone. */
  async kill(): Promise<void> {
    started.delete(this);
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const gone = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await gone;
  }

  private order(name: string, order: object): Promise<unknown> {
    const id = ++this.orders;
    return new Promise((resolve) => {
      this.asked.set(id, resolve);
      this.child.send({ id, name, order });
    });
  }
}

/** Kills what a test left running; for `afterEach`. */
export async function killGameServers(): Promise<void> {
  await Promise.all([...started].map((server) => server.kill()));
}
