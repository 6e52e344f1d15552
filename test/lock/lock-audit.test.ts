import { expect, test } from '@jest/globals';
import { pino } from 'pino';
import { sharedRedisUrl, startTestService, type Environment } from '../support/service.js';
import { fenceOf, hold } from './operations-support.js';

/** Who took a lock from whom is written down, and no lock token ever gets into the log. */

type Line = Readonly<Record<string, unknown>>;

async function forced(
  env: Environment,
): Promise<{ audited: Line[]; text: string; tokens: string[]; fences: bigint[] }> {
  const lines: Line[] = [];
  const write = (line: string): void => {
    lines.push(JSON.parse(line) as Line);
  };
  const logger = pino({ level: 'trace' }, { write });
  const service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone'), ...env }, { logger });
  const { locks } = service;
  const held = await Promise.all(['ada', 'bob'].map((owner) => hold(locks, 'door', { owner, permits: 1 })));
  const expectedFencingToken = fenceOf(held[0] as never) + 1n;
  await locks.forceReleaseLock({ resource: 'door', reason: 'not the one', expectedFencingToken });
  const { fencingToken } = await locks.forceReleaseLock({ resource: 'door', reason: 'shard-3 hangs' });
  await service.stop();
  return {
    audited: lines.filter(({ audit }) => audit === true),
    text: JSON.stringify(lines),
    tokens: held.map(({ lockToken }) => lockToken),
    fences: [...held.map((grant) => fenceOf(grant)), fencingToken],
  };
}

test('a forced release is one line: the resource, why, from whom, and who called', async () => {
  const { audited, text, tokens, fences } = await forced({});
  expect(audited).toHaveLength(1);
  const [line] = audited;
  expect(line).toMatchObject({
    level: pino.levels.values.info,
    event: 'force_released',
    resource: 'door',
    reason: 'shard-3 hangs',
    holderCount: 2,
    fencingToken: Number(fences.at(-1)),
    peer: '127.0.0.1',
  });
  expect((line?.owners as string[]).toSorted()).toEqual(['ada', 'bob']);
  expect(line?.fencingTokens).toEqual(fences.slice(0, 2).map(Number));
  for (const token of tokens) expect(text).not.toContain(token);
});

test('with AUDIT_LOG=0 nothing is written down', async () => {
  expect((await forced({ AUDIT_LOG: '0' })).audited).toEqual([]);
});
