import type { Logger } from '../logger.js';
import type { Rpc } from '../rpc/rpc.js';

export class Sessions {
  constructor(
    readonly rpc: Rpc['sessions'],
    readonly logger: Logger,
  ) {}
}
