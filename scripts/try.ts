import { existsSync } from 'node:fs';
import { promisify } from 'node:util';
import { credentials } from '@grpc/grpc-js';
import { DEFAULTS } from '../src/config/defaults.js';
import {
  CacheServiceClient,
  GetRequest,
  SetRequest,
  type GetResponse,
  type SetResponse,
} from '../src/gen/shardkeep/cache/v1/cache.js';

/** Sets a value and gets it back with a generated client, as a game server would. */

if (existsSync('.env')) process.loadEnvFile('.env');
// what listens on every address is reached by loopback
const address = (process.env.GRPC_LISTEN ?? DEFAULTS.grpcListen).replace(/^(0\.0\.0\.0|\[::\]):/, '127.0.0.1:');
const say = (line: string): void => {
  process.stdout.write(`${line}\n`);
};

const client = new CacheServiceClient(address, credentials.createInsecure());
const set = promisify<SetRequest, SetResponse>(client.set.bind(client));
const get = promisify<GetRequest, GetResponse>(client.get.bind(client));
try {
  await promisify<number>(client.waitForReady.bind(client))(Date.now() + 5_000).catch((error: unknown) => {
    throw new Error(`nothing serves at ${address}; start it with: make run`, { cause: error });
  });
  const key = 'char:42:data';
  const value = Buffer.from(JSON.stringify({ name: 'Ayla', level: 7 }));
  const stored = await set(SetRequest.fromPartial({ key, value, expiry: { $case: 'ttlMs', value: 60_000n } }));
  say(`Set ${key} ${value.toString()} -> version ${String(stored.version)}`);
  const { entry } = await get(GetRequest.fromPartial({ key }));
  say(`Get ${key} -> ${entry?.value.toString() ?? 'a miss'}, for another ${String(entry?.ttlMs ?? 0n)} ms`);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
} finally {
  client.close();
}
