import { createClient, type BasicClientSideCache } from 'redis';
import { clientOptions, commandOptions, socketOptions, type RedisAccess } from './client-options.js';
import type { ScriptArg } from './lua-script.js';

/** Where a Redis is and how to log in. */
export type RedisTarget = RedisAccess &
  (
    | { readonly topology: 'standalone'; readonly host: string; readonly port: number; readonly database: number }
    | { readonly topology: 'standalone'; readonly socketPath: string; readonly database: number }
    | { readonly topology: 'cluster'; readonly seeds: readonly Endpoint[] }
    | {
        readonly topology: 'sentinel';
        readonly sentinels: readonly Endpoint[];
        readonly masterName: string;
        readonly database: number;
        /** The login of the sentinels; user and password above are the master's. */
        readonly sentinelUsername?: string;
        readonly sentinelPassword?: string;
      }
  );

export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

/** One node as seen through a connection: runs a command on it and nowhere else. */
export type NodeCommand = (command: readonly ScriptArg[]) => Promise<unknown>;

/** A master as it is known now. */
export interface MasterNode {
  readonly address: string;
  /** How often it was connected. When that changes, it may have restarted in between. */
  readonly connectedTimes: number;
  readonly send: NodeCommand;
}

export interface ConnectionEvents {
  /** A node's connection is up, again or for the first time; commands flow after the promise resolved. */
  readonly onNodeReady: (node: NodeCommand, address: string) => Promise<void>;
  /** The connection can or cannot serve. On Cluster: at least one master can. */
  readonly onStateChange: (ready: boolean) => void;
}

/** How many replicas must have a write before it is answered, and how long that may take. */
export interface ReplicaTerms {
  readonly count: number;
  readonly timeoutMs: number;
}

export interface ConnectionOptions {
  /** A node that answers nothing for so long is given up; undefined: only the operating system gives up. */
  readonly timeoutMs?: number | undefined;
  /** What `sendHeld` waits for; undefined: for nothing. */
  readonly replicas?: ReplicaTerms | undefined;
}

/** What metrics tell of a connection. */
export interface ConnectionStatus {
  /** Nodes that were given up since they were silent, and have not answered yet. */
  readonly openCircuits: number;
  /** How often a node was connected again. */
  readonly reconnects: number;
}

/** One connection (on Cluster: one a master), pipelined; it reconnects for ever until closed. */
export interface RedisConnection {
  readonly topology: 'standalone' | 'cluster';
  /** Begins to connect in the background. */
  connect(): void;
  /** Sends one command to the node of `routingKey`; fails at once when that node is away. */
  send(routingKey: string | undefined, command: readonly ScriptArg[]): Promise<unknown>;
  /** The same, answered when enough replicas have what it wrote; OUTCOME_UNKNOWN where too few have in time. */
  sendHeld(routingKey: string | undefined, command: readonly ScriptArg[]): Promise<unknown>;
  /** Every master; one that is away fails what is sent to it. On standalone the one node. */
  masters(): readonly MasterNode[];
  /** Prepares every connected node anew, and serves no longer from those that fail. */
  recheck(): void;
  /** A node said that it is no master (any more): looks for the one that is. */
  distrust(): void;
  readonly status: ConnectionStatus;
  /** Waits for the replies of what was sent, then closes. */
  close(): Promise<void>;
  /** Closes now; what is in flight fails. */
  destroy(): void;
}

/** Names a target in logs, without credentials. */
export function describeTarget(target: RedisTarget): string {
  if (target.topology === 'cluster') return describeEndpoints(target.seeds);
  if (target.topology === 'sentinel') return `${target.masterName}@${describeEndpoints(target.sentinels)}`;
  return 'socketPath' in target ? `unix:${target.socketPath}` : `${target.host}:${String(target.port)}`;
}

function describeEndpoints(endpoints: readonly Endpoint[]): string {
  return endpoints.map(({ host, port }) => `${host}:${String(port)}`).join(',');
}

export type StandaloneTarget = Extract<RedisTarget, { topology: 'standalone' }>;
export type ClusterTarget = Extract<RedisTarget, { topology: 'cluster' }>;
export type SentinelTarget = Extract<RedisTarget, { topology: 'sentinel' }>;
/** Where one server at a time has all keys. */
export type ServerTarget = StandaloneTarget | SentinelTarget;

/**
 * A client of one server, for one connection: when it is lost another client is needed. `clientSideCache` is not used to
 * cache: it is node-redis's only way to pushes of tracked keys.
 */
export function createStandaloneClient(target: StandaloneTarget, clientSideCache?: BasicClientSideCache) {
  const address =
    'socketPath' in target
      ? { path: target.socketPath, tls: false as const }
      : { host: target.host, port: target.port };
  return createClient({
    ...clientOptions(target),
    commandOptions,
    ...(clientSideCache === undefined ? {} : { clientSideCache }),
    database: target.database,
    socket: {
      ...socketOptions(target, 'host' in target ? target.host : undefined),
      ...address,
      reconnectStrategy: false,
    } as NonNullable<Parameters<typeof createClient>[0]>['socket'] & object,
  });
}

export type ServerClient = ReturnType<typeof createStandaloneClient>;
