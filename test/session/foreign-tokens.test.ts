import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { status as Code } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { pino } from 'pino';
import { connect, type ShardkeepClient } from '../../src/client/index.js';
import { ForeignTokens } from '../../src/session/foreign-tokens.js';
import { failureOf } from '../support/client.js';
import { sharedRedisUrl, startTestService, type TestService } from '../support/service.js';

/** Who presents tokens that this service never gave is counted by source, and warned of. */

const lines: Readonly<Record<string, unknown>>[] = [];
const captured = pino({ level: 'warn' }, { write: (line: string) => lines.push(JSON.parse(line) as never) });
/** Without those of the Redis of this machine, whose version may be one with a known hole. */
const warnings = () => lines.filter((line) => !('fixedIn' in line));
const PEER = '127.0.0.1';

describe('a service', () => {
  let service: TestService;
  let client: ShardkeepClient;
  beforeAll(async () => {
    service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') }, { logger: captured });
    client = connect(service.address, { timeoutMs: 30_000 });
  });
  afterAll(async () => {
    await client.close();
    await service.stop();
  });

  test('counts what it never gave, by peer, over every transport, and nothing that it did give', async () => {
    const { sessions } = service;
    const { session, sessionToken } = await sessions.createSession({ userId: 'ada' });
    const forged = `${session?.sessionId ?? ''}.${'A'.repeat(43)}`;
    await sessions.validateSession({ sessionToken });
    await sessions.destroySession({ sessionId: session?.sessionId ?? '' });
    // ended, which its holder is told: not foreign
    await sessions.validateSession({ sessionToken });
    expect((await sessions.getSessionStats({})).foreignTokenCount).toBe(0n);

    await sessions.validateSession({ sessionToken: forged });
    expect(await failureOf(sessions.validateSession({ sessionToken: 'no token' }))).toMatchObject({
      code: Code.INVALID_ARGUMENT,
      fields: ['session_token'],
    });
    // on the pipeline
    await client.rpc.sessions.validateSession({ sessionToken: forged });
    const stats = await sessions.getSessionStats({});
    expect(stats.foreignTokenCount).toBe(3n);
    expect(stats.foreignTokenSources).toEqual([{ source: PEER, count: 3n }]);
    expect(warnings()).toEqual([]);
  });

  test('warns of a source that goes on, and names neither token nor secret', async () => {
    const secret = 'S'.repeat(42);
    const guess = `${'A'.repeat(24)}.${secret}A`;
    for (let count = 0; count < 30; count++) await service.sessions.validateSession({ sessionToken: guess });
    expect(warnings()).toHaveLength(1);
    expect(warnings()[0]).toMatchObject({ msg: 'foreign session tokens', sources: [{ source: PEER }] });
    expect(JSON.stringify(lines)).not.toContain(secret);
  });
});

describe('the count', () => {
  const silent = pino({ level: 'silent' });
  const from = (ip: string) => ({ sessionToken: '', client: { ip } });

  test('is by the ip of the request, and by peer where it has none', () => {
    const tokens = new ForeignTokens(silent);
    tokens.count('unknown', from('203.0.113.7'), PEER);
    tokens.refused(from('203.0.113.7'), PEER);
    tokens.refused(from(''), PEER);
    tokens.refused({ sessionToken: '', client: undefined }, PEER);
    tokens.refused(from('x'.repeat(10_000)), PEER);
    expect(tokens.counts).toEqual({ malformed: 4, unknown: 1 });
    expect(tokens.top(10)).toEqual([
      { source: '203.0.113.7', count: 2 },
      { source: PEER, count: 2 },
      { source: 'x'.repeat(64), count: 1 },
    ]);
    expect(tokens.top(1)).toHaveLength(1);
  });

  test('keeps nothing of a long ip but what it answers', () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const tokens = new ForeignTokens(silent);
    collect();
    const before = process.memoryUsage().heapUsed;
    for (let count = 0; count < 100; count++) {
      const ip = Buffer.from(`${String(count)} ${'x'.repeat(1_000_000)}`).toString();
      tokens.refused(from(ip), PEER);
    }
    collect();
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(20_000_000);
    expect(tokens.top(1_000)).toHaveLength(100);
  });

  test('finds those who present the most among any number of others, and never says more than they did', () => {
    const source = fc.oneof(
      { weight: 1, arbitrary: fc.constantFrom('a', 'b') },
      { weight: 4, arbitrary: fc.integer({ min: 0, max: 5_000 }).map(String) },
    );
    fc.assert(
      fc.property(fc.array(source, { minLength: 500, maxLength: 3_000 }), (presented) => {
        const tokens = new ForeignTokens(silent);
        const truth = new Map<string, number>();
        for (const ip of presented) {
          tokens.count('unknown', from(ip), PEER);
          truth.set(ip, (truth.get(ip) ?? 0) + 1);
        }
        const top = tokens.top(1_000);
        expect(top.length).toBeLessThanOrEqual(128);
        expect(top.every(({ source: ip, count }) => count <= (truth.get(ip) ?? 0))).toBe(true);
        const named = new Set(top.map((each) => each.source));
        const frequent = [...truth].filter(([, count]) => count > presented.length / 128).map(([ip]) => ip);
        expect(frequent.filter((ip) => !named.has(ip))).toEqual([]);
      }),
      { numRuns: 20 },
    );
  });
});
