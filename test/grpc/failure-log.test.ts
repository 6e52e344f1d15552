import { afterAll, afterEach, expect, test } from '@jest/globals';
import { pino, type Level } from 'pino';
import { DomainError } from '../../src/errors.js';
import { FailureLog } from '../../src/grpc/failure-log.js';
import { CallEndedError, toStatus } from '../../src/grpc/status.js';
import { failureOf } from '../support/client.js';
import { startRedis, until } from '../support/redis-server.js';
import { startTestService } from '../support/service.js';

/** What the log says of calls that failed. */

interface Line {
  readonly level: number;
  readonly [field: string]: unknown;
}

const WARN = 40;
const ERROR = 50;
const RPC = 'shardkeep.cache.v1.CacheService/Get';

let lines: Line[] = [];
const loggerAt = (level: Level) => pino({ level }, { write: (line: string) => lines.push(JSON.parse(line) as Line) });
afterEach(() => {
  lines = [];
});

test('the status decides the level', () => {
  const log = new FailureLog(loggerAt('info'));
  log.record(RPC, toStatus(new Error('a bug')));
  log.record(RPC, toStatus(new DomainError('REDIS_UNAVAILABLE', 'Redis is away')));
  log.record(RPC, toStatus(new DomainError('OVERLOADED', 'too many')));
  log.record(RPC, toStatus(new CallEndedError('deadline')));
  expect(lines.map(({ level, code, reason }) => [level, code, reason])).toEqual([
    [ERROR, 'INTERNAL', undefined],
    [WARN, 'UNAVAILABLE', 'REDIS_UNAVAILABLE'],
    [WARN, 'RESOURCE_EXHAUSTED', 'OVERLOADED'],
    [WARN, 'DEADLINE_EXCEEDED', expect.any(String)],
  ]);
  expect(lines[0]).toMatchObject({ rpc: RPC, err: { message: 'a bug', stack: expect.stringContaining('a bug') } });
  lines = [];
  log.record(RPC, toStatus(new DomainError('INVALID_FIELD', 'wrong')));
  log.record(RPC, toStatus(new DomainError('SESSION_NOT_FOUND', 'none')));
  log.record(RPC, toStatus(new DomainError('RATE_LIMITED', 'too often')));
  log.record(RPC, toStatus(new DomainError('DRAINING', 'going away')));
  log.record(RPC, toStatus(new CallEndedError('cancelled')));
  expect(lines).toEqual([]);
});

test('a flood of failures is a few lines a second of each RPC and reason, and then their count', async () => {
  const log = new FailureLog(loggerAt('info'));
  const away = toStatus(new DomainError('REDIS_UNAVAILABLE', 'Redis is away'));
  for (let count = 0; count < 10_000; count++) log.record(RPC, away);
  log.record(RPC, toStatus(new Error('a bug')));
  expect(lines.map(({ level }) => level)).toEqual([WARN, WARN, WARN, WARN, WARN, ERROR]);
  await until(() => lines.length > 6);
  expect(lines.slice(6)).toEqual([
    expect.objectContaining({ level: WARN, rpc: RPC, reason: 'REDIS_UNAVAILABLE', suppressed: 9_995 }),
  ]);
});

test('what callers wrote is on one line, and cut', () => {
  const written: string[] = [];
  const log = new FailureLog(pino({ level: 'debug' }, { write: (line: string) => written.push(line) }));
  const words = `policy "a\nb\u001b[31m" ${'x'.repeat(100_000)}`;
  log.record(RPC, toStatus(new DomainError('INVALID_FIELD', words)));
  log.record(RPC, toStatus(new Error(words)));
  log.record(RPC, toStatus(words));
  expect(written).toHaveLength(3);
  for (const line of written) {
    expect(line.length).toBeLessThan(12_000);
    // eslint-disable-next-line no-control-regex -- what a terminal would obey
    expect(line.slice(0, -1)).not.toMatch(/[\u0000-\u001f]/);
  }
});

const redis = await startRedis();
afterAll(() => redis.remove());

test('a service whose Redis is away says so of its calls, without their keys', async () => {
  const service = await startTestService({ REDIS_URL: redis.url }, { logger: loggerAt('info') });
  await redis.stop('SIGKILL');
  for (let count = 0; count < 20; count++) await failureOf(service.cache.get({ key: 'canary' }));
  const told = lines.filter(({ rpc }) => rpc === RPC);
  expect(told[0]).toMatchObject({ level: WARN, code: 'UNAVAILABLE', reason: 'REDIS_UNAVAILABLE' });
  expect(JSON.stringify(lines)).not.toContain('canary');
  await service.stop();
});
