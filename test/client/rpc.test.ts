import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema, MethodOptions_IdempotencyLevel } from '@bufbuild/protobuf/wkt';
import { expect, test } from '@jest/globals';
import { RETRY_SAFE } from '../../src/client/transport/retry-safe.js';

test('the RPCs that are tried again by themselves are those whose idempotency level says so', () => {
  const image = join(mkdtempSync(join(tmpdir(), 'shardkeep-proto-')), 'image.binpb');
  execFileSync('node_modules/.bin/buf', ['build', '-o', image]);
  const { file } = fromBinary(FileDescriptorSetSchema, readFileSync(image));
  const safe = file.flatMap(({ package: name, service }) =>
    service.flatMap((of) =>
      of.method
        .filter(({ clientStreaming, serverStreaming }) => !clientStreaming && !serverStreaming)
        .filter(({ options }) => {
          const level = options?.idempotencyLevel ?? MethodOptions_IdempotencyLevel.IDEMPOTENCY_UNKNOWN;
          return level !== MethodOptions_IdempotencyLevel.IDEMPOTENCY_UNKNOWN;
        })
        .map((method) => `${name}.${of.name}/${method.name}`),
    ),
  );
  expect(safe.length).toBeGreaterThan(30);
  expect([...RETRY_SAFE].toSorted()).toEqual(safe.toSorted());
});
