import { credentials } from '@grpc/grpc-js';

/** Run by itself, with an IPC channel: a caller that holds slots until it is killed. */

/** What is built may not be there yet when imports are checked. */
const { RateLimitServiceClient, HoldConcurrencyRequest } = await import(
  new URL('../../dist/gen/shardkeep/ratelimit/v1/ratelimit.js', import.meta.url).href
);

const [, , address] = process.argv;
const client = new RateLimitServiceClient(address, credentials.createInsecure());

process.once('message', (request) => {
  const stream = client.holdConcurrency(HoldConcurrencyRequest.fromPartial(request));
  stream.on('data', ({ decision }) => process.send(decision.allowed));
  stream.on('error', () => process.send('ended'));
});
process.send('ready');
