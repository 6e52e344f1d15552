import { until, type RedisServer } from './redis-server.js';

/** One slot of a Cluster on its way from master to master. */
export interface SlotMove {
  readonly slot: number;
  readonly source: RedisServer;
  readonly target: RedisServer;
}

/** From here on the source sends callers on for keys that it has not got. */
export async function beginSlotMove({ slot, source, target }: SlotMove): Promise<void> {
  const [sourceId, targetId] = await Promise.all([source, target].map((node) => node.command('CLUSTER', 'MYID')));
  await target.command('CLUSTER', 'SETSLOT', String(slot), 'IMPORTING', String(sourceId));
  await source.command('CLUSTER', 'SETSLOT', String(slot), 'MIGRATING', String(targetId));
}

/**
 * The slot is the target's, and all masters know it. Those who have not heard of each other's epochs could otherwise give
 * the next move the same one, and then redirect to each other for ever.
 */
export async function endSlotMove({ slot, target }: SlotMove, masters: readonly RedisServer[]): Promise<void> {
  const targetId = String(await target.command('CLUSTER', 'MYID'));
  const others = masters.filter((master) => master !== target);
  for (const node of [target, ...others]) await node.command('CLUSTER', 'SETSLOT', String(slot), 'NODE', targetId);
  await until(async () => {
    const infos = await Promise.all(masters.map((node) => node.command('CLUSTER', 'INFO')));
    const epochs = infos.map((info) => /^cluster_current_epoch:(\d+)/m.exec(String(info))?.[1]);
    return new Set(epochs).size === 1;
  });
}
