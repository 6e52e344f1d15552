import { afterEach, expect, test } from '@jest/globals';
import { RateLimitServiceService } from '../../src/gen/shardkeep/ratelimit/v1/ratelimit.js';
import { startRedis, until } from '../support/redis-server.js';
import { scrape } from '../support/metrics.js';
import { killServiceProcesses, startServiceProcess, type ServiceProcess } from '../support/service-process.js';
import {
  policiesFile,
  randomNamespace,
  sharedRedisUrl,
  startTestService,
  TOPOLOGIES,
  type Environment,
} from '../support/service.js';
import { POLICIES, statsOf, under, type RateLimits } from './limit-stats-support.js';
import { SlotHold, someone } from './slots-support.js';

/** What is counted of rate limits by service processes that come and go, and as Prometheus sees it. */

afterEach(killServiceProcesses);

const POLICIES_FILE = policiesFile(POLICIES);

interface Running {
  readonly service: ServiceProcess;
  readonly rateLimits: RateLimits;
}

async function start(env: Environment): Promise<Running> {
  const service = await startServiceProcess({ POLICIES_FILE, ...env });
  return { service, rateLimits: service.channel().of(RateLimitServiceService) };
}

test.each(TOPOLOGIES)(
  'on %s what two processes count adds up, and stays when one is killed or replaced',
  async (topology) => {
    const env = { REDIS_URL: sharedRedisUrl(topology), NAMESPACE: randomNamespace() };
    const [one, other] = await Promise.all([start(env), start(env)]);
    const check = ({ rateLimits }: Running, subject: string) =>
      rateLimits.checkRateLimit({ limits: [under('five', subject), under('watched', subject)] });
    const [hot, cool] = [someone(), someone()];
    await Promise.all([...Array.from({ length: 20 }, () => check(one, hot)), check(one, cool)]);
    await Promise.all([...Array.from({ length: 30 }, () => check(other, hot)), check(other, cool)]);
    await Promise.all(Array.from({ length: 5 }, () => check(other, cool)));
    // what the other one counted comes by itself
    const denied = async (): Promise<number | undefined> => (await statsOf(one.rateLimits)).five?.denied;
    await until(async () => (await denied()) === 47);
    const expected = {
      five: { admitted: 10, denied: 47 },
      // the second of each subject and those behind it
      watched: { admitted: 10, shadowDenied: 8 },
    };
    const stats = async ({ rateLimits }: Pick<Running, 'rateLimits'>): Promise<object> => {
      const { five: { deniedFromMemory, ...five } = {}, ...others } = await statsOf(rateLimits);
      expect(deniedFromMemory ?? 0).toBeLessThanOrEqual(47);
      return { five, ...others };
    };
    expect(await stats(one)).toEqual(expected);
    expect(await stats(other)).toEqual(expected);
    expect((await one.rateLimits.getRateLimitStats({ hottestCount: 10 })).hottest).toEqual([
      { subject: hot, policy: 'five', denied: 45n },
      { subject: cool, policy: 'five', denied: 2n },
    ]);

    await other.service.stop('SIGKILL');
    expect(await stats(one)).toEqual(expected);
    // one that is told to go sends the last of it
    await one.rateLimits.checkRateLimit({ limits: [under('other')] });
    expect(await one.service.stop()).toEqual({ code: 0, signal: null });
    const successor = await startTestService({ POLICIES_FILE, ...env });
    expect(await stats(successor)).toEqual({ ...expected, other: { admitted: 1 } });
    await successor.stop();
  },
);

test('metrics are there by policy from 0 on, and no label has a subject', async () => {
  const redis = await startRedis();
  const { service, rateLimits } = await start({ REDIS_URL: redis.url, ADMIN_LISTEN: '127.0.0.1:0' });
  const address = String((await service.log('admin port listening')).address);
  const { namespace } = service;
  const metrics = async (): Promise<Record<string, number>> =>
    Object.fromEntries(
      [...(await scrape(address))]
        .filter(([name]) => name.startsWith('shardkeep_ratelimit_'))
        .map(([name, value]) => [
          name.slice('shardkeep_ratelimit_'.length).replace(`namespace="${namespace}",`, ''),
          value,
        ]),
    );
  const changed = async (): Promise<object> =>
    Object.fromEntries(Object.entries(await metrics()).filter(([, value]) => value !== 0));
  const decisions = (policy: string, result: string): string =>
    `decisions_total{policy="${policy}",result="${result}"}`;

  expect(await changed()).toEqual({});
  const names = Object.keys(await metrics());
  for (const policy of ['five', 'chat', '(inline)']) expect(names).toContain(decisions(policy, 'over'));

  const subject = 'user:nobody-may-see-this';
  const check = (policy: string, who = subject, cost = 1) =>
    rateLimits.checkRateLimit({ limits: [under(policy, who)], cost });
  await check('five', subject, 3);
  await check('five');
  await check('five', subject, 2);
  const hold = new SlotHold(service.channel(), [under('slots', subject)], { cost: 2 });
  await hold.decision();
  for (let call = 0; call < 3; call++) await check('watched');
  // the second denial begins a ban, the third meets it
  for (let call = 0; call < 4; call++) await check('ladder');
  await rateLimits.ban({ subject: 'user:b', policyName: 'other', ttlMs: 60_000n });
  await rateLimits.ban({ subject: 'user:b', ttlMs: 60_000n });
  await rateLimits.checkRateLimit({ limits: [under('other', 'user:b'), under('five', 'user:b')] });
  const { [decisions('ladder', 'banned')]: bannedLadder, ...counted } = (await changed()) as Record<string, number>;
  expect(bannedLadder).toBe(2);
  const {
    ['denied_from_memory_total{policy="ladder"}']: remembered,
    ['remembered_subjects']: subjects,
    ...rest
  } = counted;
  expect(remembered ?? 0).toBeLessThanOrEqual(1);
  expect(subjects ?? 0).toBeLessThanOrEqual(2);
  expect(rest).toEqual({
    [`checks_total{namespace="${namespace}"}`]: 12,
    [decisions('five', 'ok')]: 1,
    [decisions('five', 'near')]: 1,
    [decisions('five', 'over')]: 1,
    [decisions('five', 'banned')]: 1,
    [decisions('slots', 'near')]: 1,
    [decisions('watched', 'near')]: 1,
    [decisions('watched', 'shadow_over')]: 2,
    [decisions('ladder', 'near')]: 1,
    [decisions('ladder', 'over')]: 1,
    [decisions('other', 'banned')]: 1,
    'bans_total{policy="ladder",by="ladder"}': 1,
    'bans_total{policy="other",by="request"}': 1,
    'bans_total{policy="(all)",by="request"}': 1,
    'slots_held{policy="slots"}': 2,
  });
  hold.stream.cancel();
  await until(async () => (await metrics())['slots_held{policy="slots"}'] === 0);

  await check('halves', 'user:h');
  const alike = { limits: [under('five', 'user:c')] };
  await rateLimits.checkManyRateLimits({ checks: Array.from({ length: 40 }, () => alike) });
  expect((await metrics()).coalesced_total).toBe(39);
  await redis.stop('SIGKILL');
  for (const policy of ['allows', 'denies', 'halves']) {
    await until(async () => (await check(policy, 'user:r')).degraded);
  }
  const lost = await metrics();
  for (const [policy, mode, result] of [
    ['allows', 'allow', 'unchecked'],
    ['denies', 'deny', 'over'],
    ['halves', 'local', 'near'],
  ] as const) {
    expect([policy, lost[`degraded_total{policy="${policy}",mode="${mode}"}`]]).toEqual([policy, 1]);
    expect([policy, lost[decisions(policy, result)]]).toEqual([policy, 1]);
  }
  const text = await (await fetch(`http://${address}/metrics`)).text();
  expect(text).not.toContain('user:');
  expect(JSON.stringify(service.logs)).not.toContain('nobody-may-see-this');

  // what could not be sent comes later
  await redis.restart();
  await until(async () => (await statsOf(rateLimits).catch(() => ({}) as never)).denies?.degraded === 1);
  await redis.remove();
});
