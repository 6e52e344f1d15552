/** The TypeScript SDK of shardkeep. */
export { connect, type ConnectOptions, type ShardkeepClient } from './connect.js';
export { ShardkeepError } from './errors.js';
export type { CallOptions } from './method.js';
