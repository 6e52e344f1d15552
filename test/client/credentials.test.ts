import { afterEach, expect, test } from '@jest/globals';
import { connect, InvalidArgumentError, type ConnectOptions } from '../../src/client/index.js';
import { until } from '../support/redis-server.js';
import { sdkClient } from '../support/sdk-client.js';
import { killServiceProcesses, startServiceProcess } from '../support/service-process.js';
import { sharedRedisUrl } from '../support/service.js';

afterEach(killServiceProcesses);

function refusalOf(address: string, options: ConnectOptions): unknown {
  try {
    void connect(address, options).close();
  } catch (error) {
    return error;
  }
  return undefined;
}

test.each([
  '10.0.0.1:50051',
  '127.0.0.1.evil.example:50051',
  'localhost.evil.example:50051',
  'dns:///shard:50051',
  '127.1.1.1.1:50051',
])('a token is not sent to %s in plaintext', (address) => {
  expect(refusalOf(address, { token: 'secret' })).toBeInstanceOf(InvalidArgumentError);
  expect(refusalOf(address, { token: () => 'secret', tls: false })).toBeInstanceOf(InvalidArgumentError);
  expect(refusalOf(address, { token: 'secret', tls: true })).toBeUndefined();
});

test.each(['127.0.0.1:50051', 'localhost:50051', '[::1]:50051', 'unix:/tmp/no-such.sock'])('it is to %s', (address) => {
  expect(refusalOf(address, { token: 'secret' })).toBeUndefined();
});

test.each(['', 'sec ret', 'secret\n', 'sécret'])(
  'a token that no header can carry is refused, and not told: %j',
  (token) => {
    const refusal = refusalOf('127.0.0.1:50051', { token });
    expect(refusal).toBeInstanceOf(InvalidArgumentError);
    if (token !== '') expect(String(refusal)).not.toContain(token);
  },
);

test('a token function that throws ends nothing', async () => {
  const service = await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone') });
  let calls = 0;
  const client = sdkClient(service.address, {
    token: () => {
      if (++calls > 1) throw new Error('the file is being replaced');
      return 'secret';
    },
  });
  expect((await client.cache.set('k', 1)).stored).toBe(true);
  await service.stop('SIGKILL');
  await startServiceProcess({ REDIS_URL: sharedRedisUrl('standalone'), GRPC_LISTEN: service.address });
  await until(async () => (await client.cache.set('k', 2)).stored);
  expect(calls).toBeGreaterThan(1);
});
