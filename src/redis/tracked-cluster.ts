import calculateSlot from 'cluster-key-slot';
import type { Logger } from 'pino';
import { ErrorReply } from 'redis';
import type { ClusterTarget } from './connection.js';
import { addressOf, nodeTarget, parseClusterNodes, textOf } from './cluster-nodes.js';
import { redisUnavailable, replyCode } from './errors.js';
import { TrackedNode, type TrackedRead } from './tracked-node.js';

/** More hops mean that the nodes do not agree yet. */
const MAX_TRIES = 8;
/** A node that cannot be reached so often in a row is forgotten until a redirection names it again. */
const MAX_FAILED_ATTEMPTS = 20;

/** Where a node says that a key is. */
interface Redirection {
  readonly kind: 'ASK' | 'MOVED';
  readonly address: string;
}

/**
 * The keys of a Cluster, each tracked on the master of its slot. Masters are found by their redirections, and connected
 * to when the first of their keys is read.
 *
 * A key that moves with its slot is told by MIGRATE, which deletes it. What no push tells is that a key is created on the
 * new master, or anywhere after the old one has been deposed; so each node is asked at every keep-alive what it owns.
 */
export class TrackedCluster {
  private readonly nodes = new Map<string, TrackedNode>();
  /** What each node said last that it owns. */
  private readonly ownership = new Map<TrackedNode, string>();
  /** Address of the master by slot, as far as known. */
  private readonly owners = new Map<number, string>();
  private closed = false;

  constructor(
    private readonly target: ClusterTarget,
    private readonly logger: Logger,
  ) {}

  async read(key: string, onChange: () => void, command: readonly string[]): Promise<TrackedRead> {
    const slot = calculateSlot(key);
    const tried = new Set<string>();
    let failure: unknown = redisUnavailable('no node of the Cluster is known');
    let address = this.owners.get(slot);
    while (!this.closed && tried.size < MAX_TRIES) {
      address ??= this.someAddress(tried);
      if (address === undefined) break;
      tried.add(address);
      try {
        const read = await this.nodeAt(address).read(key, onChange, command);
        this.owners.set(slot, address);
        return read;
      } catch (error) {
        failure = error;
        // another node may know who took over
        if (!(error instanceof ErrorReply)) this.owners.delete(slot);
        const redirection = redirectionOf(error, address);
        if (redirection === undefined && error instanceof ErrorReply) break;
        if (redirection?.kind === 'ASK') return this.readAsking(redirection.address, command, onChange);
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

  /** Nothing tells of a change until the slot has arrived. */
  private async readAsking(address: string, command: readonly string[], onChange: () => void): Promise<TrackedRead> {
    const value = await this.nodeAt(address).readAsking(command);
    onChange();
    return { value, tracked: false, stop: () => undefined };
  }

  /** A node to ask that was not asked yet: one that is connected, else a seed. */
  private someAddress(tried: ReadonlySet<string>): string | undefined {
    for (const [address, node] of this.nodes) if (node.isReady && !tried.has(address)) return address;
    return this.target.seeds.map(({ host, port }) => addressOf(host, port)).find((seed) => !tried.has(seed));
  }

  private nodeAt(address: string): TrackedNode {
    const known = this.nodes.get(address);
    if (known !== undefined) return known;
    const node = new TrackedNode(nodeTarget(this.target, address), this.logger, {
      onAlive: () => {
        void this.checkOwnership(node);
      },
      onLost: (failedAttempts) => {
        this.ownership.delete(node);
        if (failedAttempts < MAX_FAILED_ATTEMPTS) return;
        node.close();
        this.nodes.delete(address);
      },
    });
    this.nodes.set(address, node);
    return node;
  }

  /** Tells the listeners of keys that this node does not answer for any more. */
  private async checkOwnership(node: TrackedNode): Promise<void> {
    try {
      const [info, nodes] = await Promise.all([node.send(['CLUSTER', 'INFO']), node.send(['CLUSTER', 'NODES'])]);
      const owned = /^cluster_state:ok/m.test(textOf(info)) ? ownedSlots(nodes) : undefined;
      if (owned === undefined) node.tell();
      // to look at every key each time would cost more than all else here
      else if (this.ownership.get(node) !== owned.description) node.tell((key) => !owned.has(calculateSlot(key)));
      this.ownership.set(node, owned?.description ?? '');
    } catch {
      node.tell();
    }
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

interface OwnedSlots {
  /** Changes with every change of what is owned, also when it was changed back. */
  readonly description: string;
  has(slot: number): boolean;
}

/** The slots of a node that says so of itself, without those on their way; undefined: a replica. */
function ownedSlots(reply: unknown): OwnedSlots | undefined {
  const node = parseClusterNodes(reply).find(({ isMyself }) => isMyself);
  if (node?.isMaster !== true) return undefined;
  const { epoch, slots } = node;
  const moving = new Set(slots.flatMap((slot) => (slot.startsWith('[') ? [Number.parseInt(slot.slice(1), 10)] : [])));
  const ranges = slots.filter((slot) => !slot.startsWith('[')).map((range) => range.split('-').map(Number));
  return {
    description: `${epoch} ${slots.join(' ')}`,
    has: (slot) => !moving.has(slot) && ranges.some(([from = 0, to = from]) => from <= slot && slot <= to),
  };
}
