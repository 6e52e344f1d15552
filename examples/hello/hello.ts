import { credentials } from '@grpc/grpc-js';
import { CacheServiceClient, SetRequest, type GetResponse } from '../../src/gen/shardkeep/cache/v1/cache.js';
import {
  AcquireLockRequest,
  LockServiceClient,
  type AcquireLockResponse,
} from '../../src/gen/shardkeep/lock/v1/lock.js';
import * as session from '../../src/gen/shardkeep/session/v1/session.js';

const address = process.argv[2] ?? process.env.GRPC_LISTEN ?? '127.0.0.1:50051';
const cache = new CacheServiceClient(address, credentials.createInsecure());
const sessions = new session.SessionServiceClient(address, credentials.createInsecure());
const locks = new LockServiceClient(address, credentials.createInsecure());

/** One call as a promise. */
function ask<Response>(send: (done: (error: Error | null, response: Response) => void) => unknown): Promise<Response> {
  return new Promise((resolve, reject) => {
    send((error, response) => {
      if (error === null) resolve(response);
      else reject(error);
    });
  });
}

const login = session.CreateSessionRequest.fromPartial({ userId: 'ada' });
const { sessionToken } = await ask<session.CreateSessionResponse>((done) => sessions.createSession(login, done));
const valid = await ask<session.ValidateSessionResponse>((done) => sessions.validateSession({ sessionToken }, done));
const trade = AcquireLockRequest.fromPartial({ resources: ['trade:ada'], ttlMs: 5_000n });
const { grants } = await ask<AcquireLockResponse>((done) => locks.acquireLock(trade, done));
const profile = SetRequest.fromPartial({ key: 'user:ada:profile', value: Buffer.from('{"level":7}') });
await ask((done) => cache.set(profile, done));
const { entry } = await ask<GetResponse>((done) => cache.get({ key: 'user:ada:profile' }, done));

const token = grants[0] === undefined ? 'none: held by another' : String(grants[0].fencingToken);
const left = `${String(entry?.ttlMs)} ms left`;
console.log(
  `${valid.session?.userId ?? '?'}: fencing token ${token}, profile ${entry?.value.toString() ?? '?'}, ${left}`,
);
for (const client of [cache, sessions, locks]) client.close();
