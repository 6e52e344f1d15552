import type { Logger } from 'pino';
import type { RedisTarget, ReplicaTerms } from './connection.js';
import type { AnyLuaScript } from './lua-script.js';
import type { OperationTimer } from './operation-timer.js';
import type { NeededPermissions } from './permissions.js';

/** How a Redis is used, but for what only its user knows of its nodes. */
export interface RedisSettings {
  readonly target: RedisTarget;
  /** Loaded into every node before it serves. */
  readonly scripts: readonly AnyLuaScript[];
  readonly logger: Logger;
  /** How often one call is sent again while its slot moves; undefined: until its deadline. */
  readonly maxRetries?: number;
  /** A node that answers nothing for so long is given up, and calls for it fail at once until it is back. */
  readonly timeoutMs?: number | undefined;
  /** Scripts that are answered when so many replicas have what they wrote. */
  readonly replicated?: ReplicaTerms & { readonly scripts: readonly AnyLuaScript[] };
  /** Told how long each operation took; undefined: nobody wants to know. */
  readonly timer?: OperationTimer;
  /** What the user is to be allowed before a node serves, beside what the scripts and every connection take. */
  readonly permissions?: NeededPermissions;
}
