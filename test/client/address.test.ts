import { expect, test } from '@jest/globals';
import { connect, InvalidArgumentError } from '../../src/client/index.js';

function refusalOf(address: unknown): unknown {
  try {
    void connect(address as string).close();
  } catch (error) {
    return error;
  }
  return undefined;
}

test.each([
  undefined,
  '',
  'localhost',
  '127.0.0.1',
  '::1',
  '[::1]',
  ':50051',
  'localhost:',
  'localhost:abc',
  'localhost:0',
  'localhost:65536',
  'http://localhost:50051',
  'redis://localhost:6379',
  'localhost:50051/path',
  'local host:50051',
  'unix:',
])('%j is no address', (address) => {
  expect(refusalOf(address)).toBeInstanceOf(InvalidArgumentError);
  expect(refusalOf(address)).toMatchObject({ fields: ['address'] });
});

test.each([
  'localhost:50051',
  '127.0.0.1:1',
  '[::1]:65535',
  'shard-1.game.svc.cluster.local:50051',
  'dns:///shardkeep:50051',
  'dns:shardkeep:50051',
  'ipv4:10.0.0.1:50051',
  'unix:/run/shardkeep.sock',
  'unix:relative.sock',
  'unix-abstract:shardkeep',
])('%j is one', (address) => {
  expect(refusalOf(address)).toBeUndefined();
});
