import type { Logger } from '../logger.js';
import type { Rpc } from '../rpc/rpc.js';

export interface CacheOptions {
  /** What becomes of a write that fails; `log` by default. */
  readonly onWriteError?: 'log' | 'throw';
}

export interface CacheSettings extends CacheOptions {
  readonly logger: Logger;
}

/** Values by key, with everything in them that JSON can say. */
export class Cache {
  constructor(
    readonly rpc: Rpc,
    readonly settings: CacheSettings,
  ) {}
}
