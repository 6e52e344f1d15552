import type { Logger } from '../logger.js';
import type { Rpc } from '../rpc/rpc.js';

export class RateLimits {
  constructor(
    readonly rpc: Rpc['rateLimits'],
    readonly logger: Logger,
  ) {}
}
