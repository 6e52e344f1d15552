import calculateSlot from 'cluster-key-slot';
import type { Logger } from 'pino';
import { isInRanges, parseClusterNodes, slotRanges, textOf } from './cluster-nodes.js';
import { ClusterRoutes } from './cluster-routes.js';
import type { ClusterTarget } from './connection.js';
import { TrackedNode, type TrackedRead } from './tracked-node.js';

/**
 * The keys of a Cluster, each tracked on the master of its slot.
 *
 * A key that moves with its slot is told by MIGRATE, which deletes it. What no push tells is that a key is created on the
 * new master, or anywhere after the old one has been deposed; so each node is asked at every keep-alive what it owns.
 */
export class TrackedCluster {
  private readonly routes: ClusterRoutes<TrackedNode>;
  /** What each node said last that it owns. */
  private readonly ownership = new Map<TrackedNode, string>();

  constructor(target: ClusterTarget, logger: Logger) {
    this.routes = new ClusterRoutes(target, (place, { onLost }) => {
      const node = new TrackedNode(place, logger, {
        onAlive: () => {
          void this.checkOwnership(node);
        },
        onLost: (failedAttempts) => {
          this.ownership.delete(node);
          onLost(failedAttempts);
        },
      });
      return node;
    });
  }

  read(key: string, onChange: () => void, command: readonly string[]): Promise<TrackedRead> {
    return this.routes.ask(
      calculateSlot(key),
      (node) => node.read(key, onChange, command),
      async (node) => {
        // nothing tells of a change until the slot has arrived
        const value = await node.readAsking(command);
        onChange();
        return { value, tracked: false, stop: () => undefined };
      },
    );
  }

  close(): void {
    this.routes.close();
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
  const ranges = slotRanges(slots);
  return {
    description: `${epoch} ${slots.join(' ')}`,
    has: (slot) => !moving.has(slot) && isInRanges(slot, ranges),
  };
}
