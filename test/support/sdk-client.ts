import { afterEach } from '@jest/globals';
import { connect, type ConnectOptions, type ShardkeepClient } from '../../src/client/index.js';

const open: ShardkeepClient[] = [];

/** A client that is closed after the test. No deadline of these tests is about how fast this machine is. */
export function sdkClient(address: string, options: ConnectOptions = {}): ShardkeepClient {
  const client = connect(address, { timeoutMs: 30_000, logger: false, ...options });
  open.push(client);
  return client;
}

afterEach(async () => {
  await Promise.all(open.splice(0).map((client) => client.close()));
});
