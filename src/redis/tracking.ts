import type { Logger } from 'pino';
import type { RedisTarget } from './connection.js';
import { ErrorLog } from './error-log.js';
import { redisUnavailable, toDomainError } from './errors.js';
import { TrackedCluster } from './tracked-cluster.js';
import { TrackedNode, type TrackedRead } from './tracked-node.js';

/**
 * Tells of changes of single keys by OPTIN tracking (https://redis.io/docs/latest/develop/reference/client-side-caching/),
 * on a connection of its own that is opened when first needed.
 *
 * A change is told as soon as its push arrives. A connection that breaks is told at once; one that falls silent within
 * three seconds. On Cluster a node that lost a slot, or its rank, is found out within a second. What Redis itself does
 * not tell is SWAPDB.
 */
export class KeyTracking {
  private readonly errorLog: ErrorLog;
  private source: TrackedNode | TrackedCluster | undefined;
  private closed = false;

  constructor(
    private readonly target: RedisTarget,
    private readonly logger: Logger,
  ) {
    this.errorLog = new ErrorLog(logger);
  }

  /**
   * Reads `key`, as a string unless another reading command is given, and from that read on calls `onChange` once: when the key changes (any write, expiry,
   * eviction, FLUSH), or when this can no longer be told (connection lost). It may be called without a change, and before
   * this resolves: the value may be the older one then. It must not throw.
   *
   * Resolves with the value (Buffer or null) and a `stop` that forgets the listener. Rejects with a domain error when
   * Redis is away or the key is no string; `onChange` is not called after that. While the key's Cluster slot moves, a key
   * may not be trackable: `onChange` has been called then when this resolves, so whoever reads again should wait a little.
   */
  async read(key: string, onChange: () => void, command: readonly string[] = ['GET', key]): Promise<TrackedRead> {
    if (this.closed) throw redisUnavailable('the service is going away');
    this.source ??= this.open();
    try {
      return await this.source.read(key, onChange, command);
    } catch (error) {
      this.errorLog.record('tracked GET', error);
      throw toDomainError(error, { readOnly: true });
    }
  }

  /** Calls every listener that is left. */
  close(): Promise<void> {
    this.closed = true;
    this.source?.close();
    return Promise.resolve();
  }

  private open(): TrackedNode | TrackedCluster {
    const { target, logger } = this;
    if (target.topology === 'cluster') return new TrackedCluster(target, logger);
    return new TrackedNode(target, logger, { onAlive: () => undefined, onLost: () => undefined });
  }
}
