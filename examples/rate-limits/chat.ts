import { randomUUID } from 'node:crypto';
import { connect } from '../../src/client/index.js';
import { Algorithm } from '../../src/gen/shardkeep/ratelimit/v1/ratelimit.js';

const shardkeep = connect(process.argv[2] ?? '127.0.0.1:50051');
const { rateLimits } = shardkeep.rpc;
const guild = `guild:${randomUUID()}`;

/** A player's own limit, from the policies that ship, and one that the guild shares. */
const limitsOf = (player: string) => [
  { subject: `user:${player}`, policy: { $case: 'policyName', value: 'chat' } as const },
  {
    subject: guild,
    policy: {
      $case: 'inlinePolicy',
      value: { name: 'guild-chat', algorithm: Algorithm.SLIDING_EXACT, limit: 15, windowMs: 10_000n },
    } as const,
  },
];

/** How many of so many messages at once may be said. */
async function flood(player: string, messages: number): Promise<number> {
  const answers = await Promise.all(
    Array.from({ length: messages }, () => rateLimits.checkRateLimit({ limits: limitsOf(player) })),
  );
  return answers.filter(({ allowed }) => allowed).length;
}

const [ada, bob] = [randomUUID(), randomUUID()];
console.log(`ada says ${String(await flood(ada, 12))} of 12`);
console.log(`bob says ${String(await flood(bob, 12))} of 12, for the guild has had enough`);
// what the guild denied was not charged to him
const { limits } = await rateLimits.peekRateLimit({ limits: limitsOf(bob).slice(0, 1) });
console.log(`bob has ${String(limits[0]?.remaining)} left elsewhere`);

// a line that a model writes costs as many units as it turns out to have: take the most it can be, correct it afterwards
const quota = [{ subject: `user:${ada}`, policy: { $case: 'policyName', value: 'api' } as const }];
const { reservationId } = await rateLimits.reserveRateLimit({ limits: quota, cost: 40, requestId: randomUUID() });
const { charged } = await rateLimits.settleRateLimit({ reservationId, cost: 12 });
console.log(`the line cost ${String(charged)} of 40`);
await shardkeep.close();
