import { expect, test } from '@jest/globals';
import { memoryBound } from '../../src/grpc/memory-bound.js';

const MIB = 1_048_576;

test.each([
  [undefined, 256],
  [0, 256],
  [2 ** 64, 256],
  [4_096 * MIB, 256],
  [1_024 * MIB, 128],
  [64 * MIB, 32],
])('of a container with %s bytes: %s MiB', (limit, bound) => {
  expect(memoryBound(limit)).toBe(bound * MIB);
});
