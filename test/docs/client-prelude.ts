import { connect } from '../../src/client/index.js';

/** What the blocks of docs/client.md find around them: the client that the page begins with. */
export const shardkeep = connect(process.env.SHARDKEEP_ADDRESS ?? '', { timeoutMs: 30_000 });
