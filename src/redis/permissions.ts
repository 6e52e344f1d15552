import type { NodeCommand } from './connection.js';
import { luaScript, type AnyLuaScript } from './lua-script.js';
import { ReplyReader } from './reply.js';

/**
 * What the service's user of Redis must be allowed to do. Commands are named as an ACL names them (`get`,
 * `script|load`). docs/operations/redis-users.acl grants all of it and nothing else; a test compares.
 */

/** What every connection needs beside the commands of its scripts. */
export const CONNECTION_COMMANDS: readonly string[] = ['eval', 'evalsha', 'info', 'ping', 'script|load', 'time'];

/** What a role's Redis is asked past its scripts: plain reads, tracked keys, shard channels. */
export const ROLE_COMMANDS: readonly string[] = [
  ...['client|caching', 'client|tracking', 'ssubscribe', 'sunsubscribe'],
  ...['exists', 'get', 'hget', 'hmget', 'mget', 'scan', 'zrange', 'zscore'],
];

/** What the nodes of a Cluster are asked. */
export const CLUSTER_COMMANDS: readonly string[] = ['asking', 'cluster|info', 'cluster|nodes', 'cluster|slots'];

/** What a master is asked that answers when its replicas have a write. */
export const REPLICA_COMMANDS: readonly string[] = ['wait'];

/** What a database other than 0 takes. The keys of a user are the same in all. */
export const DATABASE_COMMANDS: readonly string[] = ['select'];

/** Commands of which an ACL grants each subcommand by itself. */
const CONTAINERS: ReadonlySet<string> = new Set(['client', 'cluster', 'object', 'script', 'xinfo']);

const REDIS_CALL = /\bredis\.p?call\(\s*['"]([A-Za-z]+)['"](?:\s*,\s*['"]([A-Za-z]+)['"])?/g;

/** The name by which an ACL grants a command. */
export function grantOf(command: string, subcommand = ''): string {
  const name = command.toLowerCase();
  return CONTAINERS.has(name) ? `${name}|${subcommand.toLowerCase()}` : name;
}

/** The commands that these scripts call. */
export function commandsOf(scripts: readonly Pick<AnyLuaScript, 'source'>[]): ReadonlySet<string> {
  const called = scripts.flatMap(({ source }) =>
    [...source.matchAll(REDIS_CALL)].map(([, command = '', subcommand]) => grantOf(command, subcommand)),
  );
  return new Set(called);
}

/** Rules of an ACL that grant these commands on the keys and channels of some namespaces; a namespace may be a pattern. */
export function aclRules(commands: Iterable<string>, namespaces: readonly string[]): readonly string[] {
  const grants = [...new Set(commands)].sort().map((command) => `+${command}`);
  return [
    'resetkeys',
    ...namespaces.map((namespace) => `~${namespace}:*`),
    'resetchannels',
    ...namespaces.map((namespace) => `&${namespace}:*`),
    '-@all',
    ...grants,
  ];
}

export const checkPermissionsScript = luaScript({
  file: './lua/check-permissions.lua',
  from: import.meta.url,
  keys: [],
  args: ['namespace', '...commands'],
  parse: (reply) => {
    const reader = new ReplyReader(reply);
    const missing: string[] = [];
    while (reader.remaining > 0) missing.push(reader.text());
    return missing;
  },
});

/** The user that this service logs in as may not do all that it has to. */
export class MissingPermissionsError extends Error {
  override readonly name = 'MissingPermissionsError';
  readonly code = 'NOPERM';
  /** `missing`: what is to be granted, as rules of an ACL. */
  constructor(readonly missing: readonly string[]) {
    super(`the user of Redis lacks ${missing.join(' ')}`);
  }
}

/** What a connection must be allowed to do. */
export interface NeededPermissions {
  /** On keys and channels of these namespaces, as they are at that moment; undefined: no key is looked at. */
  readonly namespaces?: ReadonlySet<string>;
  /** Beside what its scripts call and every connection needs. */
  readonly commands?: readonly string[];
}

const NO_NAMESPACE: ReadonlySet<string> = new Set(['']);

/** Throws MissingPermissionsError, with all that is missing, instead of one call after the other that fails. */
export async function checkPermissions(
  node: NodeCommand,
  scripts: readonly Pick<AnyLuaScript, 'source'>[],
  {
    namespaces = NO_NAMESPACE,
    commands = [],
    topology,
  }: NeededPermissions & { readonly topology: 'standalone' | 'cluster' },
): Promise<void> {
  const ofTopology = topology === 'cluster' ? CLUSTER_COMMANDS : [];
  const needed = [...new Set([...CONNECTION_COMMANDS, ...ofTopology, ...commands, ...commandsOf(scripts)])];
  const missing = await Promise.all(
    [...namespaces].map(async (namespace) => {
      const { script, args } = checkPermissionsScript.bind({}, { namespace, '...commands': needed });
      return checkPermissionsScript.parse(await node(['EVAL', script.source, '0', ...args]));
    }),
  );
  if (missing.flat().length > 0) throw new MissingPermissionsError([...new Set(missing.flat())]);
}
