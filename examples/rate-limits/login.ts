import { randomUUID } from 'node:crypto';
import { connect } from '../../src/client/index.js';
import { LimitStatus } from '../../src/gen/shardkeep/ratelimit/v1/ratelimit.js';

const shardkeep = connect(process.argv[2] ?? '127.0.0.1:50051', { timeoutMs: 1_000 });

/** Whether somebody may try a password now. */
async function mayLogIn(ip: string, id: string): Promise<string> {
  const byKind = new Map([
    ['ip', ip],
    ['user', id],
  ]);
  const policy = { $case: 'policyName', value: 'login' } as const;
  const answer = await shardkeep.rpc.rateLimits.checkRateLimit({
    limits: [{ subject: '', policy, subjects: { byKind } }],
  });
  if (answer.allowed) return 'let in';
  // a state for each limit, in the order of the file
  const over = answer.limits.filter(({ status }) => status === LimitStatus.OVER || status === LimitStatus.BANNED);
  const who = over.map(({ subject }) => subject.split(':')[0]);
  return `${who.join(' and ')} is over: again in ${String(Math.ceil(Number(answer.retryAfterMs) / 60_000))} min`;
}

const id = randomUUID();
const tries: string[] = [];
for (let n = 0; n < 6; n += 1) tries.push(await mayLogIn('203.0.113.7', id));
console.log(tries.join(', '));
await shardkeep.close();
