import { randomUUID } from 'node:crypto';
import { credentials, status, type ServiceError } from '@grpc/grpc-js';
import { connect } from '../../src/client/index.js';
import {
  Algorithm,
  HoldConcurrencyRequest,
  RateLimitServiceClient,
  type HoldConcurrencyResponse,
} from '../../src/gen/shardkeep/ratelimit/v1/ratelimit.js';

const address = process.argv[2] ?? '127.0.0.1:50051';
const streams = new RateLimitServiceClient(address, credentials.createInsecure());
// one match of a player at once; `windowMs` is how long a slot outlives the service process that renewed it
const matches = { name: 'matches', algorithm: Algorithm.CONCURRENCY, limit: 1, windowMs: 1_500n };
const limits = [{ subject: `user:${randomUUID()}`, policy: { $case: 'inlinePolicy', value: matches } as const }];

interface Match {
  readonly end: () => void;
  /** Why the slot was lost; never settles when the match ended by itself. */
  readonly lost: Promise<ServiceError>;
}

/** A match that has a slot, or undefined when all are taken. */
function startMatch(): Promise<Match | undefined> {
  return new Promise((resolve, reject) => {
    // without a deadline: it would end the stream, and free the slot
    const stream = streams.holdConcurrency(HoldConcurrencyRequest.fromPartial({ limits }));
    const lost = new Promise<ServiceError>((lose) => {
      stream.on('error', (error: ServiceError) => {
        reject(error); // does nothing once there was a decision
        if (error.code !== status.CANCELLED) lose(error);
      });
    });
    stream.on('data', ({ decision }: HoldConcurrencyResponse) => {
      const end = () => {
        stream.cancel(); // frees the slot
      };
      resolve(decision?.allowed === true ? { end, lost } : undefined);
    });
    // where the answer was no, the service ends the stream: there is nothing to cancel
    stream.on('end', () => {
      resolve(undefined);
    });
  });
}

const first = await startMatch();
console.log(first === undefined ? 'no slot' : 'a match has begun');
console.log((await startMatch()) === undefined ? 'no slot for a second one' : 'two at once');
first?.end();
// the slot is free as soon as the service has heard of that
let next = await startMatch();
while (next === undefined) next = await startMatch();
console.log('the next match has begun');

// an operator resets the limit: the service sees it when it renews the slot, within a third of `windowMs`
const shardkeep = connect(address);
await shardkeep.rpc.rateLimits.resetRateLimit({ limits });
const why = await next.lost;
console.log(why.code === status.ABORTED ? 'SLOTS_LOST: the match is stopped' : why.message);
await shardkeep.close();
streams.close();
