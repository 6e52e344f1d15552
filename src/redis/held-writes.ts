import type { ReplicaTerms } from './connection.js';
import { replyCode } from './errors.js';
import type { ScriptArg } from './lua-script.js';
import { ReplicaBarrier } from './replica-barrier.js';

/** The connections to the masters of a Cluster, as far as known. */
export interface HeldNodes<Node extends object> {
  send(node: Node, command: readonly ScriptArg[]): Promise<unknown>;
  /** The one that has the slot of a key; undefined: it is away. */
  masterOf(key: string): Node | undefined;
  /** By `host:port`. */
  nodeAt(address: string): Node | undefined;
  /** Looks where the slot of a key is by now. */
  refresh(key: string): Promise<void>;
  /** What is thrown where a master is away. */
  offline(): Promise<never>;
}

/** More redirections mean that the masters do not agree yet. */
const MAX_REDIRECTIONS = 8;

/**
 * Writes to a Cluster that wait for replicas. Redirections are followed here and not by node-redis, which does not tell where
 * a command went in the end: the replicas that count are those of the master that wrote, and of no other on the way to it.
 */
export class HeldWrites<Node extends object> {
  private readonly barriers = new WeakMap<Node, ReplicaBarrier>();

  constructor(
    private readonly nodes: HeldNodes<Node>,
    private readonly terms: ReplicaTerms,
  ) {}

  /** Throws what a node does, or what `ReplicaBarrier` does. */
  send(key: string, command: readonly ScriptArg[]): Promise<unknown> {
    return this.sendToMaster(key, command).catch((error: unknown) => this.redirected(error, key, command));
  }

  /** A redirected command was not run, so it may be sent again. */
  private async redirected(failure: unknown, key: string, command: readonly ScriptArg[]): Promise<unknown> {
    let error = failure;
    for (let count = 0; count < MAX_REDIRECTIONS; count++) {
      const code = replyCode(error);
      if (code !== 'MOVED' && code !== 'ASK') break;
      try {
        if (code === 'ASK') return await this.sendAsking(addressIn(error), command);
        await this.nodes.refresh(key);
        return await this.sendToMaster(key, command);
      } catch (again) {
        error = again;
      }
    }
    throw error;
  }

  private sendToMaster(key: string, command: readonly ScriptArg[]): Promise<unknown> {
    const master = this.nodes.masterOf(key);
    return master === undefined ? this.nodes.offline() : this.barrierOf(master).send(command);
  }

  private async sendAsking(address: string, command: readonly ScriptArg[]): Promise<unknown> {
    const node = this.nodes.nodeAt(address);
    if (node === undefined) return this.nodes.offline();
    // it holds for the next command of the connection, which is sent in the same breath
    const [, reply] = await Promise.all([this.nodes.send(node, ['ASKING']), this.barrierOf(node).send(command)]);
    return reply;
  }

  private barrierOf(node: Node): ReplicaBarrier {
    let barrier = this.barriers.get(node);
    if (barrier === undefined) {
      barrier = new ReplicaBarrier((command) => this.nodes.send(node, command), this.terms);
      this.barriers.set(node, barrier);
    }
    return barrier;
  }
}

/** Of `ASK 3999 host:port`. */
function addressIn(error: unknown): string {
  return error instanceof Error ? (error.message.split(' ')[2] ?? '') : '';
}
