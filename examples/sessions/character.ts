import { randomUUID } from 'node:crypto';
import { connect, ShardkeepError } from '../../src/client/index.js';
import { CharacterClaimPolicy } from '../../src/gen/shardkeep/session/v1/session.js';

const shardkeep = connect(process.argv[2] ?? '127.0.0.1:50051', { timeoutMs: 3_000 });
const { sessions, cache } = shardkeep.rpc;
const userId = `ada-${randomUUID()}`;
const character = `char:${userId}`;

/** A shard that plays the character for a session from now on, and saves it under the epoch of its claim. */
async function play(owner: string): Promise<(state: string) => Promise<void>> {
  const { session } = await sessions.createSession({ userId, profile: 'game' });
  const { claim } = await sessions.claimCharacter({
    ...{ userId, characterId: 'hero', sessionId: session?.sessionId ?? '', owner },
    policy: CharacterClaimPolicy.TAKEOVER,
  });
  const guard = { resource: character, fencingToken: claim?.epoch ?? 0n };
  const expiry = { $case: 'ttlMs', value: 3_600_000n } as const;
  return async (state) => {
    await cache.set({ key: character, value: Buffer.from(state), expiry, guard });
  };
}

const first = await play('shard-1');
await first('level 7');
// a second login: its shard writes before it plays
const second = await play('shard-2');
await second('level 7, in the second login');
// the first shard was asleep meanwhile
await first('level 8').catch((error: unknown) => {
  if (!(error instanceof ShardkeepError) || error.reason !== 'OLD_FENCING_TOKEN') throw error;
  console.log('the first shard drops the player');
});
console.log((await cache.get({ key: character })).entry?.value.toString());
await shardkeep.close();
