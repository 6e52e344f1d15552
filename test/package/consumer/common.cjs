/* global Buffer, console */
const { connect } = require('shardkeep/client');

/** A stranger's program in CommonJS. */

const [, , address] = process.argv;
const shardkeep = connect(address, { timeoutMs: 10_000 });
shardkeep.rpc.cache
  .set({ key: 'common', value: Buffer.from('bow') })
  .then(() => shardkeep.rpc.cache.get({ key: 'common' }))
  .then(({ entry }) => console.log(entry.value.toString()))
  .finally(() => shardkeep.close());
