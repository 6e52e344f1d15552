import type { ClusterTarget, StandaloneTarget } from './connection.js';

/** A node as CLUSTER NODES tells of it. */
export interface ClusterNode {
  readonly id: string;
  /** `host:port`, as clients reach it. */
  readonly address: string;
  readonly isMyself: boolean;
  readonly isMaster: boolean;
  /** Of a replica; '-' for a master. */
  readonly masterId: string;
  readonly epoch: string;
  /** `100`, `0-99`, or in brackets those on their way. */
  readonly slots: readonly string[];
}

export function parseClusterNodes(reply: unknown): readonly ClusterNode[] {
  return textOf(reply)
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [id = '', place = '', flags = '', masterId = '', , , epoch = '', , ...slots] = line.split(' ');
      const named = new Set(flags.split(','));
      return {
        id,
        address: place.slice(0, place.includes('@') ? place.indexOf('@') : undefined),
        isMyself: named.has('myself'),
        isMaster: named.has('master'),
        masterId,
        epoch,
        slots,
      };
    });
}

/** From and to, of those that are at a node, on their way or not. */
export type SlotRanges = readonly (readonly [from: number, to: number])[];

export function slotRanges(slots: ClusterNode['slots']): SlotRanges {
  return slots
    .filter((slot) => !slot.startsWith('['))
    .map((range) => {
      const [from = 0, to = from] = range.split('-').map(Number);
      return [from, to];
    });
}

export function isInRanges(slot: number, ranges: SlotRanges): boolean {
  return ranges.some(([from, to]) => from <= slot && slot <= to);
}

/** The nodes to which slots of others are on their way; only their source tells. */
export function importersOf(nodes: readonly ClusterNode[]): ReadonlySet<string> {
  const destinations = nodes.flatMap(({ slots }) => slots.map((slot) => /->-(\w+)\]$/.exec(slot)?.[1]));
  return new Set(destinations.filter((id) => id !== undefined));
}

export function textOf(reply: unknown): string {
  return Buffer.isBuffer(reply) || typeof reply === 'string' ? reply.toString() : '';
}

export function addressOf(host: string, port: number | string): string {
  return `${host}:${String(port)}`;
}

/** One node of a Cluster as a server of its own. */
export function nodeTarget(target: ClusterTarget, address: string): StandaloneTarget {
  const separator = address.lastIndexOf(':');
  const place = { host: address.slice(0, separator), port: Number(address.slice(separator + 1)) };
  return { ...target, topology: 'standalone', database: 0, ...place };
}
