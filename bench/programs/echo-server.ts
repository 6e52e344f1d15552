import { Server, ServerCredentials, type handleUnaryCall, type UntypedServiceImplementation } from '@grpc/grpc-js';
import type { EchoPlan, EchoReport } from './protocol.js';

/**
 * The floor under a unary call: grpc-js with the service's options and path and an answer of the same size, and nothing
 * else. argv[2] is its EchoPlan.
 */

const MAX_MESSAGE_BYTES = 4 * 1_048_576;
const PATH = '/shardkeep.cache.v1.CacheService/Get';

const plan = JSON.parse(process.argv[2] ?? '') as EchoPlan;
const answer = Buffer.from(plan.answer, 'base64');
const identity = (bytes: Buffer): Buffer => bytes;
const respond: handleUnaryCall<Buffer, Buffer> = (_call, callback) => {
  callback(null, answer);
};
const implementation: UntypedServiceImplementation = { get: respond };

// the options of src/grpc/server.ts
const server = new Server({
  'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
  'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
  'grpc.keepalive_time_ms': 30_000,
  'grpc.keepalive_timeout_ms': 10_000,
});
server.addService(
  {
    get: {
      path: PATH,
      requestStream: false,
      responseStream: false,
      requestSerialize: identity,
      requestDeserialize: identity,
      responseSerialize: identity,
      responseDeserialize: identity,
    },
  },
  implementation,
);
server.bindAsync(plan.address, ServerCredentials.createInsecure(), (error, port) => {
  if (error !== null) throw error;
  const report: EchoReport = { kind: 'listening', address: plan.address.replace(/:0$/, `:${port}`) };
  process.send?.(report);
});
process.on('disconnect', () => {
  process.exit(0);
});
