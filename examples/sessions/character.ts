import { randomUUID } from 'node:crypto';
import { connect, FailedPreconditionError } from 'shardkeep/client';

const shardkeep = connect(process.argv[2] ?? '127.0.0.1:50051', { timeoutMs: 3_000 });
const { sessions, cache } = shardkeep;
const userId = `ada-${randomUUID()}`;
const character = `char:${userId}`;

/** A shard that plays the character for a session from now on, and saves it under the epoch of its claim. */
async function play(owner: string): Promise<(state: string) => Promise<void>> {
  const login = await sessions.createSession({ userId, profile: 'game' });
  if (login.status !== 'created') throw new Error(login.status);
  const { sessionId } = login.session;
  const claimed = await sessions.claimCharacter({ userId, characterId: 'hero', sessionId, owner, policy: 'takeover' });
  if (claimed.status !== 'claimed') throw new Error(claimed.status);
  const guard = { resource: character, fencingToken: claimed.claim.epoch };
  return async (state) => {
    await cache.set(character, state, { ttlMs: 3_600_000, guard });
  };
}

const first = await play('shard-1');
await first('level 7');
// a second login: its shard writes before it plays
const second = await play('shard-2');
await second('level 7, in the second login');
// the first shard was asleep meanwhile
await first('level 8').catch((error: unknown) => {
  if (!(error instanceof FailedPreconditionError) || error.reason !== 'OLD_FENCING_TOKEN') throw error;
  console.log('the first shard drops the player');
});
console.log(await cache.get<string>(character));
await shardkeep.close();
