import { afterEach, describe, expect, test } from '@jest/globals';
import { Metadata, status as Code, type sendUnaryData } from '@grpc/grpc-js';
import { connect, ShardkeepError, type ConnectOptions, type ShardkeepClient } from '../../src/client/index.js';
import { CacheServiceService, type GetRequest, type GetResponse } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { errorOf } from '../support/client-error.js';
import { startForeignServer, stopForeignServers } from '../support/foreign-server.js';

/** The client before servers that are not ours, or that break the protocol. */

const clients: ShardkeepClient[] = [];

function client(address: string, options: ConnectOptions = {}): ShardkeepClient {
  const connected = connect(address, options);
  clients.push(connected);
  return connected;
}

afterEach(async () => {
  await Promise.all(clients.splice(0).map((connected) => connected.close()));
  stopForeignServers();
});

const MISS: GetResponse = CacheServiceService.get.responseDeserialize(Buffer.alloc(0));

test('without the pipeline, a wrong request that waits for the stream fails alone, and one that was given up is not sent', async () => {
  const keys: string[] = [];
  const { address } = await startForeignServer({
    cache: {
      get: ({ request }: { request: GetRequest }, callback: sendUnaryData<object>) => {
        keys.push(request.key);
        callback(null, MISS);
      },
    },
  });
  const { cache } = client(address);
  const controller = new AbortController();
  // a number where the proto has 64 bits cannot be encoded
  const wrong = cache.set({ key: 'k', expiry: { $case: 'ttlMs', value: 60_000 as unknown as bigint } });
  const givenUp = cache.get({ key: 'given up' }, { signal: controller.signal });
  const right = cache.get({ key: 'right' });
  controller.abort();
  expect((await errorOf(wrong)).code).toBe(Code.INVALID_ARGUMENT);
  expect((await errorOf(givenUp)).code).toBe(Code.CANCELLED);
  expect(await right).toEqual({ entry: undefined });
  expect(keys).toEqual(['right']);
});

describe.each(['pipeline', 'unary'] as const)('a server with details of its own, over %s', (transport) => {
  async function errorWith(details: Buffer): Promise<ShardkeepError> {
    const { address } = await startForeignServer({
      cache: {
        get: (_: unknown, callback: sendUnaryData<object>) => {
          const metadata = new Metadata();
          metadata.set('grpc-status-details-bin', details);
          callback({ code: Code.RESOURCE_EXHAUSTED, details: 'as the trailer has it', metadata });
        },
      },
    });
    const connected = client(address, { transport });
    const error = await errorOf(connected.cache.get({ key: 'x' }));
    // nothing may hold it
    await connected.close();
    return error;
  }

  test('that are no google.rpc.Status fails a call by code and message', async () => {
    const error = await errorWith(Buffer.from([0xff, 0xff]));
    expect(error).toMatchObject({ code: Code.RESOURCE_EXHAUSTED, reason: '', fields: [] });
    expect(error.message).toContain('as the trailer has it');
  });

  test('that carry another code fails a call by the code of the trailer', async () => {
    const otherCode = Buffer.from([(1 << 3) | 0, Code.ABORTED]);
    expect((await errorWith(otherCode)).code).toBe(Code.RESOURCE_EXHAUSTED);
  });
});
