/** shardkeep in express-rate-limit. */
export { ShardkeepRateLimitStore, type Hits, type ShardkeepRateLimitStoreOptions } from './store.js';
