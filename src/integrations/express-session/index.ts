/** A store of express-session, in a shardkeep service. */
export { MAX_SESSION_BYTES } from './session-record.js';
export { ShardkeepStore, type ShardkeepStoreOptions } from './shardkeep-store.js';
