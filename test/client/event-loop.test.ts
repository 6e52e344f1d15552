import { afterEach, describe, expect, test } from '@jest/globals';
import { connect, type ConnectOptions, type ShardkeepClient } from '../../src/client/index.js';
import { freeAddress } from '../support/free-address.js';
import { until } from '../support/redis-server.js';
import { sdkClient } from '../support/sdk-client.js';
import { killServiceProcesses } from '../support/service-process.js';

/** What fails without asking anybody must not keep the event loop from its timers and sockets. */

afterEach(killServiceProcesses);

type Call = (client: ShardkeepClient) => Promise<unknown>;

const CALLS: readonly (readonly [string, Call])[] = [
  ['a read of the cache', ({ cache }) => cache.get('k')],
  ['a count', ({ cache }) => cache.increment('n')],
  ['cacheAside', ({ cache }) => cache.cacheAside('k', () => 'loaded')],
  ['a session', ({ sessions }) => sessions.getSession('x'.repeat(24))],
  ['an RPC', ({ rpc }) => rpc.rateLimits.listPolicies({})],
  ['health', ({ health }) => health.check()],
];

const STREAMS: readonly (readonly [string, Call])[] = [
  ['a watch of sessions', ({ sessions }) => sessions.watchSessions({ all: true })[Symbol.asyncIterator]().next()],
  ['a watch of locks', ({ locks }) => locks.watchLocks({ resources: ['a'] }).next()],
  ['a watch of health', ({ health }) => health.watch().next()],
  ['the end of all sessions', ({ sessions }) => sessions.destroyAllSessions().next()],
  ['a lock', ({ locks }) => locks.holdLock('a')],
  ['a slot', ({ rateLimits }) => rateLimits.holdConcurrency({ subject: 'user:1', policy: 'p' })],
];

/** Calls in a loop until the event loop turns; false: it does not. */
async function turnsDuring(client: ShardkeepClient, call: Call): Promise<boolean> {
  let turns = 0;
  setImmediate(() => turns++);
  for (let count = 0; count < 100; count++) {
    await call(client).catch(() => undefined);
    if (turns > 0) return true;
  }
  return false;
}

describe.each(['pipeline', 'unary'] as const)('a loop over %s', (transport) => {
  const options: ConnectOptions = { transport, retry: { maxAttempts: 1 } };

  test.each([...CALLS, ...STREAMS])('%s of a client that is closed', async (_, call) => {
    const client = connect(await freeAddress(), { ...options, logger: false });
    await client.close();
    expect(await turnsDuring(client, call)).toBe(true);
  });

  test.each(CALLS)('%s while there is no connection, or the circuit is open', async (_, call) => {
    const client = sdkClient(await freeAddress(), { ...options, cache: { circuit: { openMs: 60_000 } } });
    await until(async () => {
      await client.cache.get('k');
      return client.cache.circuitState === 'open';
    });
    expect(await turnsDuring(client, call)).toBe(true);
  });

  test('a call that was given up before it began', async () => {
    const client = sdkClient(await freeAddress(), options);
    expect(await turnsDuring(client, ({ rpc }) => rpc.cache.get({ key: 'k' }, { signal: AbortSignal.abort() }))).toBe(
      true,
    );
  });
});

test.each(STREAMS.slice(1, 4))('%s in a loop while there is no connection', async (_, call) => {
  const client = sdkClient(await freeAddress());
  // until the connection is known to fail, and streams fail at once
  await call(client).catch(() => undefined);
  expect(await turnsDuring(client, call)).toBe(true);
});
