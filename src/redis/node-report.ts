import type { NodeCommand } from './connection.js';
import { UnexpectedReplyError } from './lua-script.js';

/** What a node says of itself by INFO. */
export interface NodeReport {
  readonly address: string;
  /** Of the process: another one after each start. */
  readonly runId: string;
  readonly product: 'redis' | 'valkey';
  /** Of the product. */
  readonly version: string;
  /** Of the Redis that it is compatible with. */
  readonly majorVersion: number;
  readonly clusterEnabled: boolean;
  readonly maxmemoryPolicy: string;
}

export async function inspectNode(node: NodeCommand, address: string): Promise<NodeReport> {
  const fields = await readInfo(node);
  const redisVersion = fields.get('redis_version') ?? '0';
  const valkeyVersion = fields.get('valkey_version');
  return {
    address,
    runId: fields.get('run_id') ?? '',
    product: valkeyVersion === undefined ? 'redis' : 'valkey',
    version: valkeyVersion ?? redisVersion,
    majorVersion: Number.parseInt(redisVersion, 10),
    clusterEnabled: fields.get('cluster_enabled') === '1',
    maxmemoryPolicy: fields.get('maxmemory_policy') ?? '',
  };
}

/** The fields of a section of INFO, of one node. */
export interface NodeInfo {
  readonly address: string;
  readonly fields: ReadonlyMap<string, string>;
}

/** The fields of INFO, or of a section of it. */
export async function readInfo(node: NodeCommand, section?: string): Promise<ReadonlyMap<string, string>> {
  const info = await node(section === undefined ? ['INFO'] : ['INFO', section]);
  // a verbatim string under RESP3, a bulk string under RESP2
  if (!Buffer.isBuffer(info) && typeof info !== 'string') throw new UnexpectedReplyError('INFO is no text');
  return new Map(
    info
      .toString()
      .split('\r\n')
      .filter((line) => line.includes(':'))
      .map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)]),
  );
}

/** Throws where a server says that it is a replica. By INFO, which is needed anyway, and not by ROLE. */
export async function checkIsMaster(node: NodeCommand): Promise<void> {
  const role = (await readInfo(node, 'replication')).get('role') ?? 'unknown';
  if (role !== 'master') throw new Error(`the server is no master; its role is ${role}`);
}

const OLDEST_MAJOR_VERSION = 7;

/** Why a node cannot be served from; undefined where it can. */
export function unusableReason(report: NodeReport, topology: 'standalone' | 'cluster'): string | undefined {
  if (report.majorVersion < OLDEST_MAJOR_VERSION) {
    return `version ${report.version} is too old, ${String(OLDEST_MAJOR_VERSION)}.0 or newer is needed`;
  }
  if (report.clusterEnabled === (topology === 'cluster')) return undefined;
  return report.clusterEnabled
    ? 'this is a node of a Cluster; name it by redis+cluster://'
    : 'this is no Cluster; name it by redis://';
}

export function mayEvict(maxmemoryPolicy: string): boolean {
  return maxmemoryPolicy !== 'noeviction';
}

/** Why a node could lose what must be kept; undefined where it keeps it. */
export function evictionRisk({ maxmemoryPolicy }: Pick<NodeReport, 'maxmemoryPolicy'>): string | undefined {
  if (!mayEvict(maxmemoryPolicy)) return undefined;
  return `maxmemory-policy is ${maxmemoryPolicy}: Redis may evict live sessions and locks; set noeviction`;
}
