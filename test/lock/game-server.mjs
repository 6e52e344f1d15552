import { Buffer } from 'node:buffer';
import { once } from 'node:events';
import { promisify } from 'node:util';
import { credentials } from '@grpc/grpc-js';

/** Run by itself, with an IPC channel: a game server that takes locks and writes under them, as it is ordered to. */

/** What is built may not be there yet when imports are checked. */
const built = (file) => import(new URL(`../../dist/gen/shardkeep/${file}`, import.meta.url).href);
const [lock, cache, session] = await Promise.all(
  ['lock', 'cache', 'session'].map((name) => built(`${name}/v1/${name}.js`)),
);

const [, , address] = process.argv;
const locks = new lock.LockServiceClient(address, credentials.createInsecure());

function clientOf(Client, messages) {
  const client = new Client(address, credentials.createInsecure());
  return (method, request) =>
    promisify(client[method].bind(client))(
      messages[`${method[0].toUpperCase()}${method.slice(1)}Request`].fromPartial(request),
    );
}
const caches = clientOf(cache.CacheServiceClient, cache);
const sessions = clientOf(session.SessionServiceClient, session);

let stream;
let ids = 0n;

function grantOf({ status, lockToken, grants }) {
  return { status, lockToken, fencingToken: grants[0]?.fencingToken ?? 0n };
}

/** How a write ended: OK, or code and reason. */
async function outcomeOf(write) {
  try {
    await write;
    return 'OK';
  } catch (error) {
    const [details] = error.metadata.get('grpc-status-details-bin');
    const reason = /OLD_FENCING_TOKEN/.exec(Buffer.from(details ?? '').toString('latin1'))?.[0] ?? '';
    return `${error.code} ${reason}`;
  }
}

const orders = {
  /** Keeps a lock by the stream of this process. */
  hold: async ({ request, graceMs, delayMs }) => {
    stream ??= locks.holdLocks().on('error', () => undefined);
    const id = ++ids;
    stream.write(
      lock.HoldLocksRequest.fromPartial({
        id,
        action: {
          $case: 'acquire',
          value: { lock: request, disconnectGraceMs: BigInt(graceMs), lockDelayMs: BigInt(delayMs) },
        },
      }),
    );
    for (;;) {
      const [answer] = await once(stream, 'data');
      if (answer.id === id) return grantOf(answer.event.value);
    }
  },
  acquire: async ({ request }) => {
    const deadline = Date.now() + 60_000;
    const call = (done) => locks.acquireLock(lock.AcquireLockRequest.fromPartial(request), { deadline }, done);
    return grantOf(await promisify(call)());
  },
  /** Writes into the cache and the session under the guard. */
  write: async ({ key, sessionId, guard, text }) => {
    const value = Buffer.from(text);
    return Promise.all([
      outcomeOf(caches('set', { key, value, guard, expiry: { $case: 'ttlMs', value: 60_000n } })),
      outcomeOf(
        sessions('updateSession', {
          sessionId,
          guard,
          updateMask: ['metadata'],
          fields: { metadata: new Map([['by', text]]) },
        }),
      ),
    ]);
  },
};

process.on('message', ({ id, name, order }) => {
  orders[name](order).then((done) => process.send({ id, done }));
});
process.send({ ready: true });
