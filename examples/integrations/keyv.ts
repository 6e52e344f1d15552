import Keyv from 'keyv';
import { connect } from 'shardkeep/client';
import { KeyvShardkeep } from 'shardkeep/keyv';

const shardkeep = connect(process.argv[2] ?? '127.0.0.1:50051');
const keyv = new Keyv({ store: new KeyvShardkeep(shardkeep.cache), namespace: 'shop' });

await keyv.set('sword', { price: 100 }, 60_000);
console.log(JSON.stringify(await keyv.get('sword')));
await keyv.clear();
console.log(await keyv.get('sword'));
await shardkeep.close();
