import type { Logger } from '../logger.js';
import type { Rpc } from '../rpc/rpc.js';

export class Locks {
  constructor(
    readonly rpc: Rpc['locks'],
    readonly logger: Logger,
  ) {}
}
