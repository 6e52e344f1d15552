/* global console */
const { connect } = require('shardkeep/client');

/** A stranger's program in CommonJS. */

const [, , address] = process.argv;
const shardkeep = connect(address, { timeoutMs: 10_000 });
shardkeep.cache
  .set('common', { weapon: 'bow' })
  .then(() => shardkeep.cache.get('common'))
  .then(({ weapon }) => console.log(weapon))
  .finally(() => shardkeep.close());
