/* global Buffer, console */
import { connect } from 'shardkeep/client';

/** A stranger's program in JavaScript. */

const [, , address] = process.argv;
const shardkeep = connect(address, { timeoutMs: 10_000 });
await shardkeep.rpc.cache.set({ key: 'plain', value: Buffer.from('axe') });
const { entry } = await shardkeep.rpc.cache.get({ key: 'plain' });
console.log(entry.value.toString());
await shardkeep.close();
