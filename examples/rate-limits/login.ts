import { randomUUID } from 'node:crypto';
import { connect } from 'shardkeep/client';

const shardkeep = connect(process.argv[2] ?? '127.0.0.1:50051', { timeoutMs: 1_000 });

/** Whether somebody may try a password now. */
async function mayLogIn(ip: string, user: string): Promise<string> {
  const answer = await shardkeep.rateLimits.check({ ip, user }, 'login');
  if (answer.allowed) return 'let in';
  // a state for each limit, in the order of the file
  const over = answer.limits.filter(({ status }) => status === 'over' || status === 'banned');
  const who = over.map(({ subject }) => subject.split(':')[0]);
  return `${who.join(' and ')} is over: again in ${String(Math.ceil(answer.retryAfterMs / 60_000))} min`;
}

const user = randomUUID();
const tries: string[] = [];
for (let n = 0; n < 6; n += 1) tries.push(await mayLogIn('203.0.113.7', user));
console.log(tries.join(', '));
await shardkeep.close();
