import { setTimeout as sleep } from 'node:timers/promises';
import { status as Code, type ServiceError } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { parseRedisUrl } from '../../src/config/redis-url.js';
import { AcquireLockStatus } from '../../src/gen/shardkeep/lock/v1/lock.js';
import { ValidateSessionStatus } from '../../src/gen/shardkeep/session/v1/session.js';
import { KeyBroadcast } from '../../src/redis/broadcast.js';
import { ShardChannels } from '../../src/redis/shard-channels.js';
import { KeyTracking } from '../../src/redis/tracking.js';
import { fenceOf } from '../lock/lock-support.js';
import { ChannelEar } from '../support/channel-ear.js';
import { startSentinel, type SentinelSetup } from '../support/redis-sentinel.js';
import { until, type RedisServer } from '../support/redis-server.js';
import { policiesFile, startTestService, type TestService } from '../support/service.js';
import { Listener } from '../support/tracked-listener.js';

/** The master of a Sentinel setup dies, or stands still and comes back, under load. */

let setup: SentinelSetup;
let service: TestService;

beforeAll(async () => {
  setup = await startSentinel({ replicas: 2 });
  service = await startTestService({ REDIS_URL: setup.url, POLICIES_FILE: policiesFile({ rpc_limits: [] }) });
});
afterAll(async () => {
  await service.stop();
  await setup.remove();
});

async function masterNow(): Promise<RedisServer> {
  const master = await setup.master();
  if (master === undefined) throw new Error('there is no master');
  return master;
}

/** A refused caller does not ask again at once; it would take the time that the failover needs. */
const PAUSE_MS = 50;

/** Logins and locks in endless loops; remembers all that was acknowledged. */
class Load {
  readonly codes = new Map<Code, number>();
  readonly tokens: string[] = [];
  readonly fences: bigint[][];
  private stopped = false;
  private readonly workers: readonly Promise<void>[];

  constructor(workerCount: number) {
    this.fences = Array.from({ length: workerCount }, () => []);
    this.workers = this.fences.map((fences, worker) => this.run(`worker-${String(worker)}`, fences));
  }

  get acknowledged(): number {
    return this.tokens.length;
  }

  /** Of a master that is gone, more than this is not to be seen. */
  get strangeCodes(): Code[] {
    const expected = new Set([Code.OK, Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED]);
    return [...this.codes.keys()].filter((code) => !expected.has(code));
  }

  async more(count: number): Promise<void> {
    const goal = this.acknowledged + count;
    await until(() => this.acknowledged >= goal);
  }

  async stop(): Promise<void> {
    this.stopped = true;
    await Promise.all(this.workers);
  }

  private async run(worker: string, fences: bigint[]): Promise<void> {
    const { locks, sessions } = service;
    while (!this.stopped) {
      const code = await this.round(async () => {
        const granted = await locks.acquireLock({ resources: [worker], ttlMs: 1_000n });
        if (granted.status === AcquireLockStatus.GRANTED) fences.push(fenceOf(granted));
        const { lockToken } = granted;
        await Promise.all([
          locks.releaseLock({ resources: [worker], lockToken }),
          sessions
            .createSession({ userId: `${worker}-${String(fences.length)}` })
            .then(({ sessionToken }) => this.tokens.push(sessionToken)),
        ]);
      });
      this.codes.set(code, (this.codes.get(code) ?? 0) + 1);
      if (code !== Code.OK) await sleep(PAUSE_MS);
    }
  }

  private round(work: () => Promise<unknown>): Promise<Code> {
    return work().then(
      () => Code.OK,
      (error: unknown) => (error as ServiceError).code,
    );
  }
}

const isGrowing = (tokens: readonly bigint[]): boolean =>
  tokens.every((token, index) => token > (tokens[index - 1] ?? 0n));

async function printLost(load: Load, what: string): Promise<void> {
  const ends = await Promise.all(load.tokens.map((sessionToken) => service.sessions.validateSession({ sessionToken })));
  const lost = ends.filter(({ status }) => status !== ValidateSessionStatus.VALID).length;
  process.stdout.write(`${what}: ${String(lost)} of ${String(load.acknowledged)} acknowledged sessions lost\n`);
}

test('kill -9 of the master: another one takes over, and fencing tokens grow', async () => {
  const load = new Load(8);
  try {
    await load.more(50);
    const old = await masterNow();
    await old.stop('SIGKILL');
    const killedAt = performance.now();
    await load.more(1);
    process.stdout.write(`first session after the kill: ${String(Math.round(performance.now() - killedAt))} ms\n`);
    await load.more(50);
  } finally {
    await load.stop();
  }
  expect(load.strangeCodes).toEqual([]);
  expect(load.fences.every(isGrowing)).toBe(true);
  await printLost(load, 'kill -9 of a master');
});

test('every kind of connection follows a master that stands still, and nothing goes to it when it wakes', async () => {
  const logger = pino({ level: 'silent' });
  const target = parseRedisUrl(setup.url);
  const tracking = new KeyTracking(target, logger);
  const channels = new ShardChannels(target, logger);
  const pushed: (string | undefined)[] = [];
  const broadcast = new KeyBroadcast(target, logger, {
    onPush: (key) => pushed.push(key),
    onInForce: () => pushed.push('in force'),
    onLost: () => pushed.push('lost'),
  });
  const ear = new ChannelEar();
  const load = new Load(8);
  try {
    const listener = new Listener();
    await tracking.read('{a}tracked', listener.onChange);
    channels.listen('{a}channel', ear);
    await ear.until('subscribed');
    broadcast.follow(['{a}']);
    await until(() => pushed.includes('in force'));
    await load.more(50);

    const old = await masterNow();
    old.signal('SIGSTOP');
    await listener.told;
    await ear.until('lost');
    const master = await setup.untilFailedOverFrom(old);
    await load.more(50);
    await ear.until('subscribed');
    await until(() => pushed.includes('in force', pushed.indexOf('lost')));
    await master.command('SPUBLISH', '{a}channel', 'news');
    await ear.until('message news');
    const again = new Listener();
    expect((await tracking.read('{a}tracked', again.onChange)).value).toBeNull();
    await master.command('SET', '{a}tracked', 'x');
    await again.told;
    await until(() => pushed.includes('{a}tracked'));

    old.signal('SIGCONT');
    // what lay in its sockets it has done with the first of these
    await old.command('PING');
    const scripts = await scriptsRun(old);
    await load.more(200);
    expect(await scriptsRun(old)).toBe(scripts);
  } finally {
    await load.stop();
    broadcast.close();
    channels.close();
    await tracking.close();
  }
  expect(load.strangeCodes).toEqual([]);
  expect(load.fences.every(isGrowing)).toBe(true);
  await printLost(load, 'SIGSTOP of a master');
});

async function scriptsRun(server: RedisServer): Promise<string> {
  const stats = String(await server.command('INFO', 'commandstats'));
  return /^cmdstat_evalsha:calls=(\d+)/m.exec(stats)?.[1] ?? '0';
}

test('sentinels that go and come back are not needed meanwhile', async () => {
  await Promise.all(setup.sentinels.map((sentinel) => sentinel.stop()));
  const load = new Load(4);
  try {
    await load.more(20);
    await Promise.all(setup.sentinels.map((sentinel) => sentinel.restart()));
    await load.more(20);
  } finally {
    await load.stop();
  }
  expect([...load.codes.keys()]).toEqual([Code.OK]);
});
