import { randomUUID } from 'node:crypto';
import { connect, ShardkeepError, type HeldSlots } from 'shardkeep/client';

const shardkeep = connect(process.argv[2] ?? '127.0.0.1:50051');
const { rateLimits } = shardkeep;
// one match of a player at once; `windowMs` is how long a slot outlives the service process that renewed it
const matches = { name: 'matches', algorithm: 'concurrency', limit: 1, windowMs: 1_500 } as const;
const limit = { subject: `user:${randomUUID()}`, policy: matches };

/** A match that has a slot, or undefined when all are taken. */
async function startMatch(): Promise<HeldSlots | undefined> {
  const slot = await rateLimits.holdConcurrency(limit);
  return slot.status === 'held' ? slot : undefined;
}

const first = await startMatch();
console.log(first === undefined ? 'no slot' : 'a match has begun');
console.log((await startMatch()) === undefined ? 'no slot for a second one' : 'two at once');
first?.release();
// the slot is free as soon as the service has heard of that
let next = await startMatch();
while (next === undefined) next = await startMatch();
console.log('the next match has begun');

// an operator resets the limit: the service sees it when it renews the slot, within a third of `windowMs`
const { signal } = next;
const lost = new Promise((resolve) => {
  signal.addEventListener('abort', resolve);
});
await rateLimits.resetRateLimit(limit);
await lost;
const why: unknown = signal.reason;
console.log(why instanceof ShardkeepError ? `${why.reason}: the match is stopped` : String(why));
await shardkeep.close();
