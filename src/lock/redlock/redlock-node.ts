import type { Call } from '../../redis/call.js';
import type { BoundScript } from '../../redis/lua-script.js';
import type { Readiness } from '../../redis/readiness.js';

/** A Redis, a Cluster, or one of several masters. */
export interface RedlockNode extends Readiness {
  readonly topology: 'standalone' | 'cluster';
  run<Reply>(bound: BoundScript<Reply>, call: Call): Promise<Reply>;
}
