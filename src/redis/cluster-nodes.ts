import type { ClusterTarget, StandaloneTarget } from './connection.js';

/** A node as CLUSTER NODES tells of it. */
export interface ClusterNode {
  readonly id: string;
  /** `host:port`, as clients reach it. */
  readonly address: string;
  readonly isMyself: boolean;
  readonly isMaster: boolean;
  readonly epoch: string;
  /** `100`, `0-99`, or in brackets those on their way. */
  readonly slots: readonly string[];
}

export function parseClusterNodes(reply: unknown): readonly ClusterNode[] {
  return textOf(reply)
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [id = '', place = '', flags = '', , , , epoch = '', , ...slots] = line.split(' ');
      const named = new Set(flags.split(','));
      return {
        id,
        address: place.slice(0, place.includes('@') ? place.indexOf('@') : undefined),
        isMyself: named.has('myself'),
        isMaster: named.has('master'),
        epoch,
        slots,
      };
    });
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
