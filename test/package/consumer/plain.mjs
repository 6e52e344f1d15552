/* global console */
import { connect } from 'shardkeep/client';

/** A stranger's program in JavaScript. */

const [, , address] = process.argv;
const shardkeep = connect(address, { timeoutMs: 10_000 });
await shardkeep.cache.set('plain', { weapon: 'axe' });
const { weapon } = await shardkeep.cache.get('plain');
console.log(weapon);
await shardkeep.close();
