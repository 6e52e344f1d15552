import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Database } from '../database.js';
import { Peer } from '../ipc.js';
import type { HostContract, ShardContract, TradeWrite } from '../protocol.js';
import type { EvidenceBook } from './evidence.js';

/** A trade that holds both locks and has not written yet: its shard waits for our word. */
export interface HeldWrite {
  readonly write: TradeWrite;
  /** Gives the word. */
  readonly proceed: () => void;
}

const SHARD_FILE = fileURLToPath(new URL('../shard.ts', import.meta.url));

/** A shard as the main process sees it: what players talk to, and what can be stopped and killed. */
export class ShardProcess {
  readonly peer: Peer<ShardContract, HostContract>;
  private readonly exited: Promise<number | null>;
  private catchNext: ((held: HeldWrite) => void) | undefined;

  constructor(
    readonly name: string,
    private readonly child: ChildProcess,
    world: { database: Database; evidence: EvidenceBook },
  ) {
    const { database, evidence } = world;
    this.exited = once(child, 'exit').then(([code]: unknown[]) => (typeof code === 'number' ? code : null));
    this.peer = new Peer<ShardContract, HostContract>(child, {
      checkPassword: ({ userId, password }) => database.checkPassword(userId, password),
      loadProfile: (userId) => database.loadProfile(userId),
      openForUpdate: (rows) => database.openForUpdate(rows),
      write: (write) => database.write(write),
      aboutToWrite: (write) => this.whenAboutToWrite(write),
      report: (entry) => {
        evidence.add(entry);
        return undefined;
      },
    });
  }

  static start(name: string, address: string, world: { database: Database; evidence: EvidenceBook }): ShardProcess {
    return new ShardProcess(name, fork(SHARD_FILE, [name, address]), world);
  }

  get isUp(): boolean {
    return this.child.connected;
  }

  /** The next trade of this shard that is about to write; it does so when told to proceed, or never. */
  holdNextWrite(): Promise<HeldWrite> {
    return new Promise((resolve) => {
      this.catchNext = resolve;
    });
  }

  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.exited;
  }

  /** As a long garbage collection or a stalled virtual machine would. */
  pause(): void {
    this.child.kill('SIGSTOP');
  }

  resume(): void {
    this.child.kill('SIGCONT');
  }

  /** When there is no more work for it; it ends by itself then. Answers its exit code. */
  stop(): Promise<number | null> {
    if (this.child.connected) this.child.disconnect();
    return this.exited;
  }

  readonly abandon = (): void => {
    this.child.kill('SIGKILL');
  };

  private whenAboutToWrite(write: TradeWrite): Promise<undefined> {
    const caught = this.catchNext;
    this.catchNext = undefined;
    if (caught === undefined) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      caught({
        write,
        proceed: () => {
          resolve(undefined);
        },
      });
    });
  }
}
