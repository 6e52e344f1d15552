import { randomUUID } from 'node:crypto';
import { connect } from 'shardkeep/client';

const shardkeep = connect(process.argv[2] ?? '127.0.0.1:50051');
const { rateLimits } = shardkeep;
const guild = `guild:${randomUUID()}`;
const guildChat = { name: 'guild-chat', algorithm: 'sliding_exact', limit: 15, windowMs: 10_000 } as const;

/** A player's own limit, from the policies that ship, and one that the guild shares. */
const limitsOf = (player: string) => [
  { subject: `user:${player}`, policy: 'chat' },
  { subject: guild, policy: guildChat },
];

/** How many of so many messages at once may be said. */
async function flood(player: string, messages: number): Promise<number> {
  const answers = await Promise.all(
    Array.from({ length: messages }, () => rateLimits.checkRateLimit(limitsOf(player))),
  );
  return answers.filter(({ allowed }) => allowed).length;
}

const [ada, bob] = [randomUUID(), randomUUID()];
console.log(`ada says ${String(await flood(ada, 12))} of 12`);
console.log(`bob says ${String(await flood(bob, 12))} of 12, for the guild has had enough`);
// what the guild denied was not charged to him
const { limits } = await rateLimits.peekRateLimit({ subject: `user:${bob}`, policy: 'chat' });
console.log(`bob has ${String(limits[0]?.remaining)} left elsewhere`);

// a line that a model writes costs as many units as it turns out to have: take the most it can be, correct it afterwards
const line = await rateLimits.reserveRateLimit({ subject: `user:${ada}`, policy: 'api' }, { cost: 40 });
if (line.status === 'reserved') {
  const settled = await rateLimits.settleRateLimit(line.reservationId, 12);
  console.log(`the line cost ${settled.status === 'settled' ? String(settled.charged) : 'nothing'} of 40`);
}
await shardkeep.close();
