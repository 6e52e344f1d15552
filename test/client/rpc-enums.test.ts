import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { RpcEnums } from '../../src/client/index.js';

const protos = readdirSync('proto/shardkeep', { recursive: true, encoding: 'utf8' }).filter((file) =>
  file.endsWith('.proto'),
);

test('RpcEnums has every enum of the contract, and nothing else', () => {
  const enums = protos.flatMap((file) =>
    [...readFileSync(join('proto/shardkeep', file), 'utf8').matchAll(/^enum (\w+) \{/gm)].map(([, name]) => name),
  );
  expect(enums.length).toBeGreaterThan(20);
  expect(Object.keys(RpcEnums).toSorted()).toEqual(enums.toSorted());
});
