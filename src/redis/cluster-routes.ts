import { ErrorReply } from 'redis';
import { addressOf, nodeTarget } from './cluster-nodes.js';
import type { ClusterTarget, StandaloneTarget } from './connection.js';
import { redisUnavailable, replyCode } from './errors.js';

/** More hops mean that the nodes do not agree yet. */
const MAX_TRIES = 8;
/** A node that cannot be reached so often in a row is forgotten until a redirection names it again. */
const MAX_FAILED_ATTEMPTS = 20;

/** A node of a Cluster over a connection of its own. */
export interface RoutedNode {
  readonly isReady: boolean;
  close(): void;
}

/** What becomes of a node's connection. */
export interface RoutedNodeEvents {
  readonly onLost: (failedAttempts: number) => void;
}

/** Where a node says that a slot is. */
interface Redirection {
  readonly kind: 'ASK' | 'MOVED';
  readonly address: string;
}

/**
 * The way to the masters of a Cluster for connections of another kind than that of commands. Masters are found by the
 * redirections of others, and connected to when they are first needed.
 */
export class ClusterRoutes<Node extends RoutedNode> {
  private readonly nodes = new Map<string, Node>();
  /** Address of the master by slot, as far as known. */
  private readonly owners = new Map<number, string>();
  private closed = false;

  /** `open` makes the connection to a node, which tells of its losses. */
  constructor(
    private readonly target: ClusterTarget,
    private readonly open: (target: StandaloneTarget, events: RoutedNodeEvents) => Node,
  ) {}

  /**
   * Asks the node that has a slot, by asking others where it is. `asking` is for the node that a slot is on its way to.
   * Throws what the last one threw.
   */
  async ask<Answer>(
    slot: number,
    question: (node: Node) => Promise<Answer>,
    asking: (node: Node) => Promise<Answer>,
  ): Promise<Answer> {
    const tried = new Set<string>();
    let failure: unknown = redisUnavailable('no node of the Cluster is known');
    let address = this.owners.get(slot);
    while (!this.closed && tried.size < MAX_TRIES) {
      address ??= this.someAddress(tried);
      if (address === undefined) break;
      tried.add(address);
      try {
        const answer = await question(this.nodeAt(address));
        this.owners.set(slot, address);
        return answer;
      } catch (error) {
        failure = error;
        // another node may know who took over
        if (!(error instanceof ErrorReply)) this.owners.delete(slot);
        const redirection = redirectionOf(error, address);
        if (redirection === undefined && error instanceof ErrorReply) break;
        if (redirection?.kind === 'ASK') return asking(this.nodeAt(redirection.address));
        if (redirection !== undefined && tried.has(redirection.address)) break;
        address = redirection?.address;
      }
    }
    throw failure;
  }

  close(): void {
    this.closed = true;
    for (const node of this.nodes.values()) node.close();
    this.nodes.clear();
  }

  /** A node to ask that was not asked yet: one that is connected, else a seed. */
  private someAddress(tried: ReadonlySet<string>): string | undefined {
    for (const [address, node] of this.nodes) if (node.isReady && !tried.has(address)) return address;
    return this.target.seeds.map(({ host, port }) => addressOf(host, port)).find((seed) => !tried.has(seed));
  }

  private nodeAt(address: string): Node {
    const known = this.nodes.get(address);
    if (known !== undefined) return known;
    const node = this.open(nodeTarget(this.target, address), {
      onLost: (failedAttempts) => {
        if (failedAttempts < MAX_FAILED_ATTEMPTS) return;
        node.close();
        this.nodes.delete(address);
      },
    });
    this.nodes.set(address, node);
    return node;
  }
}

/** `MOVED 3999 host:port`; without a host it is the one that was asked. */
function redirectionOf(error: unknown, asked: string): Redirection | undefined {
  const kind = replyCode(error);
  if (kind !== 'MOVED' && kind !== 'ASK') return undefined;
  const address = (error as ErrorReply).message.split(' ')[2] ?? '';
  const host = address.slice(0, address.lastIndexOf(':')) || asked.slice(0, asked.lastIndexOf(':'));
  return { kind, address: addressOf(host, address.slice(address.lastIndexOf(':') + 1)) };
}
