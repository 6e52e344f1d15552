import { readFileSync } from 'node:fs';
import { expect, test } from '@jest/globals';
import { GetRequest } from '../../src/gen/shardkeep/cache/v1/cache.js';
import { PipelineRequest, PipelineResponse } from '../../src/gen/shardkeep/pipeline/v1/pipeline.js';

/** The bytes that docs/pipeline.md shows. */

function shown(marker: string): Buffer {
  const docs = readFileSync('docs/pipeline.md', 'utf8');
  const match = new RegExp(`<!-- ${marker} -->\\n\`\`\`text\\n([0-9a-f \\n]+)\`\`\``).exec(docs);
  return Buffer.from((match?.[1] ?? '').replaceAll(/\s/g, ''), 'hex');
}

test('the request frame is what its words say', () => {
  const { methods, calls, cancelledIds } = PipelineRequest.decode(shown('request'));
  expect({ methods, cancelledIds }).toEqual({ methods: ['shardkeep.cache.v1.CacheService/Get'], cancelledIds: [] });
  expect(calls).toEqual([
    {
      id: 1,
      method: 0,
      timeoutMs: 500,
      request: Buffer.from(GetRequest.encode(GetRequest.fromPartial({ key: 'ada' })).finish()),
    },
  ]);
});

test('the answer frame is what its words say', () => {
  expect(PipelineResponse.decode(shown('answer'))).toEqual({
    limits: undefined,
    answers: [{ id: 1, outcome: { $case: 'response', value: Buffer.alloc(0) } }],
    draining: false,
  });
});
