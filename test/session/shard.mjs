import { Buffer } from 'node:buffer';
import { once } from 'node:events';
import { promisify } from 'node:util';
import { credentials, status as Code } from '@grpc/grpc-js';

/**
 * Run by itself, with an IPC channel: a shard that plays one character for one session and saves what it did, in the
 * cache and in the session, under the epoch of its claim.
 */

/** What is built may not be there yet when imports are checked. */
const built = (file) => import(new URL(`../../dist/gen/shardkeep/${file}`, import.meta.url).href);
const session = await built('session/v1/session.js');
const cache = await built('cache/v1/cache.js');

const [, , address, userId, sessionId, owner] = process.argv;
const CHARACTER = { userId, characterId: 'hero' };
const DATA = `char:${userId}:hero:data`;

function clientOf(Client, messages) {
  const client = new Client(address, credentials.createInsecure());
  return (method, request) =>
    promisify(client[method].bind(client))(
      messages[`${method[0].toUpperCase()}${method.slice(1)}Request`].fromPartial(request),
    );
}
const sessions = clientOf(session.SessionServiceClient, session);
const caches = clientOf(cache.CacheServiceClient, cache);

let epoch = 0n;
let saves = 0;

/** The version of what was written; 0 where the guard refused it. */
async function unlessRefused(write) {
  try {
    return await write;
  } catch (error) {
    if (error.code === Code.FAILED_PRECONDITION) return 0n;
    throw error;
  }
}

async function save(guarded) {
  const guard = guarded ? { resource: 'hero', fencingToken: epoch } : undefined;
  const text = `${owner}:${String(++saves)}`;
  const [inCache, inSession] = await Promise.all([
    unlessRefused(
      caches('set', { key: DATA, value: Buffer.from(text), guard, expiry: { $case: 'ttlMs', value: 60_000n } }).then(
        ({ version }) => version,
      ),
    ),
    unlessRefused(
      sessions('updateSession', {
        sessionId,
        guard,
        updateMask: ['metadata'],
        fields: { metadata: new Map([['save', text]]) },
      }).then((answer) => answer.session.version),
    ),
  ]);
  return { epoch, inCache, inSession };
}

const isMine = async () => (await sessions('checkCharacterClaim', { ...CHARACTER, epoch })).valid;

const orders = {
  claim: async () => {
    const { claim } = await sessions('claimCharacter', {
      ...{ ...CHARACTER, sessionId, owner },
      policy: session.CharacterClaimPolicy.TAKEOVER,
    });
    epoch = claim.epoch;
    return epoch;
  },
  /** Checks, waits for the word, saves whatever happened meanwhile. */
  turn: async ({ guarded }) => {
    process.send({ checked: await isMine() });
    await once(process, 'message');
    return save(guarded);
  },
  /** Saves as fast as it can until it is told that the character is another's, and then goes on. */
  play: async ({ guarded }) => {
    const log = [];
    while (await isMine()) {
      log.push(await save(guarded));
      if (log.length === 1) process.send({ playing: true });
    }
    // does not believe it, until it is refused
    do log.push(await save(guarded));
    while (log.at(-1).inCache > 0n);
    return log;
  },
};

process.send({ ready: true });
for (;;) {
  const [order] = await once(process, 'message');
  process.send({ done: await orders[order.name](order) });
}
