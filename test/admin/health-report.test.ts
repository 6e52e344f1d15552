import { describe, expect, test } from '@jest/globals';
import { redisAnswer, type ProcessHealth, type RedisHealth } from '../../src/admin/health-report.js';

/** What several processes say of their Redis, put together. */

const sound: RedisHealth = {
  up: true,
  topology: 'standalone',
  openCircuits: 0,
  latencyMs: 1,
  nodes: [{ address: 'redis:6379', up: true, latencyMs: 1 }],
  warnings: [],
};

function answerOf(...each: readonly Partial<RedisHealth>[]): unknown {
  const processes = each.map((state, index): ProcessHealth => ({
    pid: index,
    uptimeMs: 1,
    ready: true,
    draining: false,
    services: {},
    redisUp: { state: true },
    memory: { rssBytes: 1, heapUsedBytes: 1 },
    calls: { inFlight: 0, parked: 0, streams: 0 },
    cache: {},
    redis: { state: { ...sound, ...state } },
  }));
  return redisAnswer({ version: '1.0.0', uptimeMs: 1, draining: false, processes, silent: 0 });
}

describe('an open circuit', () => {
  // whoever is worst off stands for the others, and need not be the one whose circuit is open
  test.each([
    ['first', [{ openCircuits: 2 }, { warnings: ['evicts'] }]],
    ['last', [{ warnings: ['evicts'] }, { openCircuits: 2 }]],
    ['slow', [{ latencyMs: 9 }, { openCircuits: 2 }, { openCircuits: 1, latencyMs: 20 }]],
  ])('of one process is told: %s', (_, processes) => {
    const state = expect.objectContaining({ status: 'degraded', openCircuits: 2 }) as unknown;
    expect(answerOf(...processes)).toEqual({ healthy: true, body: { status: 'degraded', roles: { state } } });
  });

  test('makes a role degraded, though its last answer said that all is well', () => {
    expect(answerOf({ openCircuits: 1 })).toMatchObject({ healthy: true, body: { status: 'degraded' } });
    expect(answerOf({})).toMatchObject({ healthy: true, body: { status: 'healthy' } });
  });
});
