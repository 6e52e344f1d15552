import { expect, test } from '@jest/globals';
import { pino } from 'pino';
import {
  policiesFile,
  randomNamespace,
  sharedRedisUrl,
  startTestService,
  type Environment,
} from '../support/service.js';

/** What people decide about subjects is written down, with who asked for it. */

type Line = Readonly<Record<string, unknown>>;

const HOUR_MS = 3_600_000n;
const hourly = { algorithm: 'fixed', limit: 5, window_ms: Number(HOUR_MS) } as const;
const POLICIES_FILE = policiesFile({
  rate_policies: {
    login: {
      limits: [
        { per: 'ip', ...hourly },
        { per: 'user', ...hourly },
      ],
    },
  },
});

async function audited(env: Environment = {}): Promise<Line[]> {
  const lines: Line[] = [];
  const write = (line: string): void => {
    lines.push(JSON.parse(line) as Line);
  };
  const logger = pino({ level: 'info' }, { write });
  const url = sharedRedisUrl('standalone');
  const namespace = { NAMESPACE: randomNamespace() };
  const service = await startTestService({ REDIS_URL: url, POLICIES_FILE, ...namespace, ...env }, { logger });
  const { rateLimits } = service;
  const login = { $case: 'policyName', value: 'login' } as const;
  await rateLimits.ban({ subject: 'ip:2001:db8::1', policyName: '', ttlMs: HOUR_MS, reason: 'spam' });
  await rateLimits.unban({ subject: 'ip:2001:db8::2', policyName: '' });
  await rateLimits.unban({ subject: 'ip:2001:db8::2', policyName: '' });
  await rateLimits.overrideRateLimit({ subject: 'user:7', policyName: 'login', limit: 9, ttlMs: HOUR_MS });
  await rateLimits.resetRateLimit({ limits: [{ subject: 'user:7', policy: login }] });
  await service.stop();
  return lines.filter(({ audit }) => audit === true);
}

test('each is one line, and what changed nothing is none', async () => {
  const by = { level: pino.levels.values.info, peer: '127.0.0.1' };
  const banned = { subject: 'ip:2001:db8::/64', policy: '' };
  expect(await audited()).toMatchObject([
    { ...by, event: 'banned', ...banned, reason: 'spam', expiresAtMs: expect.any(Number) },
    { ...by, event: 'unbanned', ...banned },
    { ...by, event: 'limit_overridden', subject: 'user:7', policy: 'login', limit: 9 },
    { ...by, event: 'limits_reset', limits: [{ subject: 'user:7', policy: 'login' }] },
  ]);
});

test('with AUDIT_LOG=0 nothing is written down', async () => {
  expect(await audited({ AUDIT_LOG: '0' })).toEqual([]);
});
