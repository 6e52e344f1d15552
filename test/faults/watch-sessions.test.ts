import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import {
  SessionEventType as Type,
  SessionServiceService,
  type SessionEvent,
} from '../../src/gen/shardkeep/session/v1/session.js';
import { keys, partitionOfUser } from '../../src/redis/keys.js';
import { decodeCursor } from '../../src/session/watch/cursor.js';
import { Selection } from '../../src/session/watch/selection.js';
import { compareStreamIds } from '../../src/session/watch/session-event.js';
import { brief, login, SessionWatching, type Sessions } from '../session/watch-support.js';
import { startCluster, startRedis, until, type RedisServer } from '../support/redis-server.js';
import { killServiceProcesses, startServiceProcess, type ServiceProcess } from '../support/service-process.js';
import { policiesFile, randomNamespace, startTestService, type TestService } from '../support/service.js';

/** What WatchSessions promises when services, consumers, connections and Redis go away. */

const profile = { idle_ttl_ms: 600_000, absolute_ttl_ms: 0, touch_granularity_ms: 0, at_limit: 'evict_oldest' };
const POLICIES_FILE = policiesFile({
  rpc_limits: [],
  session_profiles: {
    default: { ...profile, max_sessions: 3 },
    brief: { ...profile, max_sessions: 3, idle_ttl_ms: 1 },
  },
});
/** Those of `brief` run out at once, and are ended by whoever notices. */
const PROFILES = ['', '', 'brief'];

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  await killServiceProcesses();
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function serviceOn(redis: { readonly url: string; remove(): Promise<void> }): Promise<TestService> {
  cleanups.push(() => redis.remove());
  const service = await startTestService({ REDIS_URL: redis.url, POLICIES_FILE });
  cleanups.push(() => service.stop());
  return service;
}

/** One where nothing happens, and one that is not told of what does, from before the first test to the last. */
let quiet: {
  redis: RedisServer;
  service: TestService;
  userId: string;
  silent: SessionWatching;
  unpoked: SessionWatching;
};
beforeAll(async () => {
  const redis = await startRedis();
  const service = await startTestService({ REDIS_URL: redis.url, POLICIES_FILE });
  const [userId, other] = [userOn(0), userOn(1)];
  const silent = await new SessionWatching(service.channel, { userIds: [userId] }).begun();
  const unpoked = await new SessionWatching(service.channel, { userIds: [other] }).begun();
  quiet = { redis, service, userId, silent, unpoked };
  const { events } = keys.sessions(service.namespace, partitionOfUser(other));
  await redis.command('XADD', events, '*', 'type', 'created', 'session', 's', 'user', other);
});
afterAll(async () => {
  await quiet.service.stop();
  await quiet.redis.remove();
});

/** Numbers from 0 to below 1, the same in every run. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

const streamId = ({ eventId }: SessionEvent): string => eventId.slice(eventId.indexOf('-') + 1);

/** Somebody who watches all sessions through whichever service is there, crashes, and goes on where it was saved. */
class Consumer {
  /** All that was told, also again. */
  readonly told: SessionEvent[] = [];
  /** What came behind a later event of the same user, in one stream. */
  readonly disorder: string[] = [];
  resyncs = 0;
  private saved: Buffer = Buffer.alloc(0);
  private stream: SessionWatching | undefined;
  private stopped = false;

  constructor(
    private readonly random: () => number,
    private readonly services: () => readonly ServiceProcess[],
  ) {}

  /** Watches until `stop`; whatever ends a stream, the next one follows. */
  async run(onBegun: () => void): Promise<void> {
    while (!this.stopped) {
      const running = this.services();
      const service = running[Math.floor(this.random() * running.length)];
      if (service === undefined) throw new Error('no service');
      this.stream = new SessionWatching(service.channel(), { all: true, cursor: this.saved });
      await this.follow(this.stream, onBegun).catch(() => undefined);
    }
  }

  /** What was not saved is forgotten. */
  crash(): void {
    this.stream?.stream.cancel();
  }

  stop(): void {
    this.stopped = true;
    this.crash();
  }

  get eventIds(): ReadonlySet<string> {
    return new Set(this.told.map(({ eventId }) => eventId));
  }

  private async follow(stream: SessionWatching, onBegun: () => void): Promise<void> {
    const orderOf = new Map<string, string>();
    for (;;) {
      const { events, cursor, resync } = await stream.until(() => true);
      for (const event of events) {
        const last = orderOf.get(event.userId) ?? '0-0';
        if (compareStreamIds(last, streamId(event)) >= 0) this.disorder.push(`${event.eventId} behind ${last}`);
        orderOf.set(event.userId, streamId(event));
        this.told.push(event);
      }
      if (resync) this.resyncs++;
      if (cursor.length > 0 && (this.saved.length === 0 || this.random() < 0.7)) this.saved = cursor;
      if (this.saved.length > 0) onBegun();
    }
  }
}

/** Logs users in and out, at random, until it is told to stop. */
async function play(
  sessions: Sessions,
  users: readonly string[],
  random: () => number,
  progress: { ops: number; stop: boolean },
): Promise<void> {
  const live: string[] = [];
  while (!progress.stop) {
    const userId = users[Math.floor(random() * users.length)] ?? '';
    const dice = random();
    if (dice < 0.6) live.push(await login(sessions, userId, PROFILES[Math.floor(random() * PROFILES.length)]));
    else if (dice < 0.95) await sessions.destroySession({ sessionId: live.shift() ?? (await login(sessions, userId)) });
    else await sessions.destroyUserSessions({ userId });
    progress.ops++;
  }
}

test('services that are killed and consumers that crash: each session has one end, and each user’s events are in order', async () => {
  const redis = await startRedis();
  cleanups.push(() => redis.remove());
  const namespace = randomNamespace();
  const start = (): Promise<ServiceProcess> =>
    startServiceProcess({ REDIS_URL: redis.url, NAMESPACE: namespace, POLICIES_FILE });
  const [writer, ...watched] = await Promise.all([start(), start(), start()]);
  const random = seeded(20_261_121);
  const consumer = new Consumer(random, () => watched);
  let consuming = Promise.resolve();
  await new Promise<void>((resolve) => {
    consuming = consumer.run(resolve);
  });

  const sessions = writer.channel().of(SessionServiceService);
  const users = Array.from({ length: 8 }, () => randomNamespace());
  const progress = { ops: 0, stop: false };
  const playing = Promise.all(Array.from({ length: 3 }, () => play(sessions, users, random, progress)));
  for (let round = 0; round < 5; round++) {
    const target = progress.ops + 60 + Math.floor(random() * 100);
    await until(() => progress.ops >= target);
    const victim = Math.floor(random() * 3);
    if (victim === 2) consumer.crash();
    else {
      await watched[victim]?.stop('SIGKILL');
      watched[victim] = await start();
    }
  }
  progress.stop = true;
  await playing;
  for (const userId of users) await sessions.destroyUserSessions({ userId });

  const written = await writtenEvents(redis, namespace, users);
  await until(() => consumer.eventIds.size >= written.length);
  consumer.stop();
  await consuming;
  expect([consumer.resyncs, consumer.disorder]).toEqual([0, []]);
  expect([...consumer.eventIds].toSorted()).toEqual(written.toSorted());
  // told again, it is the same
  expect(consumer.told.length).toBeGreaterThan(written.length);
  const once = [...new Map(consumer.told.map((event) => [event.eventId, event])).values()];
  const of = (...types: Type[]): string[] =>
    once.filter(({ type }) => types.includes(type)).map(({ sessionId }) => sessionId);
  const ends = of(Type.DESTROYED, Type.EVICTED, Type.EXPIRED);
  expect(ends.toSorted()).toEqual(of(Type.CREATED).toSorted());
  expect(new Set(ends).size).toBe(ends.length);
  expect([Type.DESTROYED, Type.EVICTED, Type.EXPIRED].every((type) => of(type).length > 0)).toBe(true);
});

/** The ids of all events of these users, as Redis has them. */
async function writtenEvents(redis: RedisServer, namespace: string, users: readonly string[]): Promise<string[]> {
  const partitions = [...new Set(users.map(partitionOfUser))];
  const ids = partitions.map(async (partition) => {
    const entries = await redis.command('XRANGE', keys.sessions(namespace, partition).events, '-', '+');
    return (entries as [string][]).map(([id]) => `${String(partition)}-${id}`);
  });
  return (await Promise.all(ids)).flat();
}

test('connections of channels that are killed all the time: nothing is missed, and nobody has to read anew', async () => {
  const redis = await startRedis();
  const { sessions, channel } = await serviceOn(redis);
  const userId = randomNamespace();
  const watch = await new SessionWatching(channel, { userIds: [userId] }).begun();
  const created: string[] = [];
  for (let round = 0; round < 20; round++) {
    await redis.command('CLIENT', 'KILL', 'TYPE', 'pubsub');
    created.push(`created ${await login(sessions, userId)}`);
  }
  const isTold = (): boolean => brief(watch.events).includes(created.at(-1) ?? '');
  await until(isTold);
  expect(brief(watch.events).filter((event) => event.startsWith('created'))).toEqual(created);
  expect(watch.resyncs).toBe(0);
});

test('a Redis that comes back empty: who watches must read anew, also where nothing had happened for long', async () => {
  const redis = await startRedis();
  const { sessions, channel, namespace } = await serviceOn(redis);
  // in one partition they would share their events
  const [busy, idle, never] = [userOn(0), userOn(1), userOn(2)];
  for (const userId of [busy, idle]) await login(sessions, userId);
  // as after 20 minutes
  await redis.command('DEL', keys.sessions(namespace, partitionOfUser(idle)).events);
  const watches = await Promise.all(
    [busy, idle, never].map((userId) => new SessionWatching(channel, { userIds: [userId] }).begun()),
  );
  const cursors = watches.map(({ cursor }) => cursor);
  await redis.stop('SIGKILL');
  await redis.restart();
  await Promise.all(watches.slice(0, 2).map((watch) => watch.until(({ resync }) => resync)));
  await until(async () => (await login(sessions, never)) !== '');
  await watches[2]?.untilEvents(1);
  // there it had nothing to lose
  expect(watches.map(({ resyncs }) => resyncs)).toEqual([1, 1, 0]);
  for (const [index, userId] of [busy, idle].entries()) {
    const back = new SessionWatching(channel, { userIds: [userId], cursor: cursors[index] ?? Buffer.alloc(0) });
    await back.begun();
    expect(back.resyncs).toBe(1);
  }
});

test('on Cluster, a master that hands over and one that dies: watchers go on with their successors', async () => {
  const cluster = await startCluster(3, 1);
  const { sessions, channel } = await serviceOn(cluster);
  const all = await new SessionWatching(channel, { all: true }).begun();
  const users = [0, 1].map((index) => userOn(index));
  for (const [index, userId] of users.entries()) {
    const master = cluster.masters[index];
    const replica = await replicaOf(cluster.replicas, master);
    await login(sessions, userId);
    if (index === 0) await replica.command('CLUSTER', 'FAILOVER');
    else await master?.stop('SIGKILL');
    await until(async () => String(await replica.command('ROLE')).startsWith('master'));
    let sessionId = '';
    await until(async () => (sessionId = await login(sessions, userId)) !== '');
    await until(() => brief(all.events).includes(`created ${sessionId}`));
  }
  expect(all.events.every(({ userId }) => users.includes(userId))).toBe(true);
  all.stream.cancel();
});

/** A user in a third of the partitions, which are on one master. */
function userOn(index: number): string {
  for (;;) {
    const userId = randomNamespace();
    // partitions are spread over the slots in order
    if (Math.floor((partitionOfUser(userId) * 3) / 512) === index) return userId;
  }
}

async function replicaOf(replicas: readonly RedisServer[], master: RedisServer | undefined): Promise<RedisServer> {
  for (const replica of replicas) {
    const [role, , port] = (await replica.command('ROLE')) as unknown[];
    if (role === 'slave' && port === master?.port) return replica;
  }
  throw new Error('no replica');
}

test('a poke that got lost is made up for by a look, and a stream that is quiet is told that it is there', async () => {
  const { service, userId, silent, unpoked } = quiet;
  expect(brief(await unpoked.untilEvents(1))).toEqual(['created s']);
  await silent.stream.untilMessages(2);
  const selection = new Selection({ namespace: service.namespace, userIds: [userId], sessionIds: [], all: false });
  const [first = 0, second = 0] = silent.stream.messages.map(
    ({ cursor }) => decodeCursor(selection, cursor)?.[0]?.asOfMs,
  );
  // it never gets old
  expect(second - first).toBeGreaterThan(4_000);
  expect(silent.events).toEqual([]);
});
