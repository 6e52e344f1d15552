import type { Logger } from 'pino';
import type { Channel, ChannelSource, ChannelSourceEvents } from './channel-source.js';
import { isInRanges, parseClusterNodes, slotRanges, textOf, type SlotRanges } from './cluster-nodes.js';
import { ClusterRoutes } from './cluster-routes.js';
import type { ClusterTarget } from './connection.js';
import { PushConnection } from './push-connection.js';

/**
 * The shard channels of a Cluster, each on a node of the shard that has its slot.
 *
 * Redis takes subscriptions back when a slot goes elsewhere, but node-redis takes that for the answer to another command
 * where one is on its way, and then believes that it is subscribed. So each node is asked at every keep-alive what it
 * serves, and one that lost something, or has lost and got it back (which raises its epoch), gets another connection.
 */
export class ChannelCluster implements ChannelSource {
  private readonly routes: ClusterRoutes<PushConnection>;
  private readonly epochs = new WeakMap<PushConnection, string>();

  constructor(
    target: ClusterTarget,
    logger: Logger,
    private readonly events: ChannelSourceEvents,
  ) {
    this.routes = new ClusterRoutes(target, (place, { onLost }) => {
      const connection: PushConnection = new PushConnection(place, undefined, logger, {
        onMoved: events.onMoved,
        onReady: () => {
          events.onReady();
          void this.check(connection);
        },
        onAlive: () => void this.check(connection),
        onLost: (failedAttempts) => {
          this.epochs.delete(connection);
          events.onLost(connection);
          onLost(failedAttempts);
        },
      });
      return connection;
    });
  }

  subscribe({ slot, name, onMessage }: Channel): Promise<PushConnection> {
    const question = async (connection: PushConnection): Promise<PushConnection> => {
      await connection.attempted();
      await connection.subscribe(name, onMessage);
      return connection;
    };
    // a slot on its way is subscribed at its source
    return this.routes.ask(slot, question, question);
  }

  close(): void {
    this.routes.close();
  }

  private async check(connection: PushConnection): Promise<void> {
    try {
      const [info, nodes] = await Promise.all([
        connection.send(['CLUSTER', 'INFO']),
        connection.send(['CLUSTER', 'NODES']),
      ]);
      const { epoch, ranges } = servedSlots(nodes);
      const isSame = (this.epochs.get(connection) ?? epoch) === epoch;
      this.epochs.set(connection, epoch);
      const isServing = isSame && /^cluster_state:ok/m.test(textOf(info));
      const slots = this.events.slotsAt(connection);
      if (slots.size === 0 || (isServing && [...slots].every((slot) => isInRanges(slot, ranges)))) return;
      connection.renew('redis node serves other slots');
    } catch {
      // the connection tells of its loss
    }
  }
}

/** A replica tells what is published on its master. */
function servedSlots(reply: unknown): { readonly epoch: string; readonly ranges: SlotRanges } {
  const nodes = parseClusterNodes(reply);
  const myself = nodes.find(({ isMyself }) => isMyself);
  const master = myself?.isMaster === true ? myself : nodes.find(({ id }) => id === myself?.masterId);
  return { epoch: myself?.epoch ?? '', ranges: slotRanges(master?.slots ?? []) };
}
