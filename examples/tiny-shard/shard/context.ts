import type { ShardkeepClient } from 'shardkeep/client';
import type { Peer } from '../ipc.js';
import type { HostContract, ShardContract } from '../protocol.js';
import { nowUs, type Evidence, type Span } from '../stage/evidence.js';

/** What every part of a shard works with. */
export interface ShardContext {
  readonly name: string;
  readonly shardkeep: ShardkeepClient;
  /** The process that owns the database. */
  readonly host: Peer<HostContract, ShardContract>;
  /** Tells the main process what was seen of a call that began at `startedUs` and has just been answered. */
  readonly report: (startedUs: number, seen: Seen) => void;
}

/** Evidence without when and where. */
export type Seen = Evidence extends infer Each ? (Each extends Evidence ? Omit<Each, keyof Span> : never) : never;

export function createReport(shard: string, host: Peer<HostContract, ShardContract>): ShardContext['report'] {
  return (startedUs, seen) => {
    host.tell('report', { ...seen, shard, startedUs, answeredUs: nowUs() });
  };
}
