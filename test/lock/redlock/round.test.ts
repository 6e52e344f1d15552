import { createHash } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { parseRedisUrl } from '../../../src/config/redis-url.js';
import { RedlockLocks } from '../../../src/lock/redlock/redlock-locks.js';
import type { RedlockNode } from '../../../src/lock/redlock/redlock-node.js';
import { redlockScripts } from '../../../src/lock/redlock/scripts.js';
import type { Call, ParkableCall } from '../../../src/redis/call.js';
import type { BoundScript } from '../../../src/redis/lua-script.js';
import { Redis } from '../../../src/redis/redis.js';
import { until, type RedisServer } from '../../support/redis-server.js';
import { randomNamespace } from '../../support/service.js';
import { callOf, requestFor, startMasters } from '../quorum/quorum-support.js';
import { BARE_LOCKS } from '../../support/redis-user.js';

/** What a try leaves behind on three masters: nothing where it was lost, and everything where anybody has it. */

const LONG_MS = 30_000;
// what is held back is let go by the tests
const NODE_TIMEOUT_MS = 20_000;
/** The value of somebody else's lock. */
const STRANGER = 'f'.repeat(32);
const ACQUIRE = 'acquire-redlock';
const GIVE_BACK = 'give-back-redlock';

let servers: readonly RedisServer[];
let open: Redis[] = [];
let resources = 0;

beforeAll(async () => {
  servers = await startMasters(3, BARE_LOCKS);
});
afterEach(async () => {
  await Promise.all(open.map((redis) => redis.close()));
  open = [];
});
afterAll(async () => {
  await Promise.all(servers.map((server) => server.remove()));
});

/** A change of a script: `from` occurs once in it. */
interface Mutation {
  readonly script: string;
  readonly from: string;
  readonly to: string;
}

/** Stands before a real master, and holds back what is sent to it or what it answers. */
class TestNode implements RedlockNode {
  readonly topology = 'standalone';
  /** What is sent of a script waits for this. */
  readonly sendHolds = new Map<string, Promise<void>>();
  /** What is answered to a script waits for this. */
  readonly replyHolds = new Map<string, Promise<void>>();
  /** Scripts that the master has run. */
  readonly ran: string[] = [];
  /** Of these, what was answered. */
  readonly done: string[] = [];

  constructor(
    private readonly redis: Redis,
    private readonly mutation: Mutation | undefined,
  ) {}

  get isReady(): boolean {
    return this.redis.isReady;
  }

  onStateChange(listener: (ready: boolean) => void): void {
    this.redis.onStateChange(listener);
  }

  async run<Reply>(bound: BoundScript<Reply>, call: Call): Promise<Reply> {
    const { name } = bound.script;
    await this.sendHolds.get(name);
    const reply = await this.redis.run(this.mutated(bound), call);
    this.ran.push(name);
    await this.replyHolds.get(name);
    this.done.push(name);
    return reply;
  }

  private mutated<Reply>(bound: BoundScript<Reply>): BoundScript<Reply> {
    const { mutation } = this;
    if (mutation?.script !== bound.script.name) return bound;
    const source = bound.script.source.replace(mutation.from, () => mutation.to);
    if (source === bound.script.source) throw new Error(`"${mutation.from}" is not in ${mutation.script}`);
    return { ...bound, script: { ...bound.script, source, sha1: createHash('sha1').update(source).digest('hex') } };
  }
}

interface Coordinator {
  readonly locks: RedlockLocks;
  readonly nodes: readonly TestNode[];
}

async function startCoordinator(mutation?: Mutation): Promise<Coordinator> {
  const redises = servers.map(
    ({ url }) => new Redis({ target: parseRedisUrl(url), scripts: redlockScripts, logger: pino({ level: 'silent' }) }),
  );
  open.push(...redises);
  for (const redis of redises) redis.connect();
  const nodes = redises.map((redis) => new TestNode(redis, mutation));
  await until(() => nodes.every(({ isReady }) => isReady));
  return { locks: new RedlockLocks({ nodes, prefix: '', nodeTimeoutMs: NODE_TIMEOUT_MS }), nodes };
}

function newResource(): string {
  return `round:${String(resources++)}`;
}

function valuesOf(resource: string): Promise<readonly unknown[]> {
  return Promise.all(servers.map((server) => server.command('GET', resource)));
}

/** Somebody else takes it on the masters of these numbers. */
async function takeOn(resource: string, ...indexes: readonly number[]): Promise<void> {
  for (const index of indexes) await servers[index]?.command('SET', resource, STRANGER, 'PX', String(LONG_MS));
}

function barrier(): { readonly passed: Promise<void>; open(): void } {
  let pass: () => void = () => undefined;
  const passed = new Promise<void>((resolve) => {
    pass = resolve;
  });
  return { passed, open: pass };
}

function nodeAt({ nodes }: Coordinator, index: number): TestNode {
  const node = nodes[index];
  if (node === undefined) throw new RangeError('no node');
  return node;
}

function longCall(): ParkableCall {
  return callOf(randomNamespace(), LONG_MS);
}

describe('a lost try', () => {
  test.each(['', 'a-request-with-an-id'])('gives back what it got (request id "%s")', async (requestId) => {
    const { locks } = await startCoordinator();
    const resource = newResource();
    await takeOn(resource, 0, 1);
    const outcome = await locks.acquireLock(requestFor(resource, { ttlMs: LONG_MS, requestId }), longCall());
    expect(outcome).toMatchObject({ status: 'held', resource, holder: { owner: '', fencingToken: 0 } });
    await until(async () => (await valuesOf(resource))[2] === null);
    expect(await valuesOf(resource)).toEqual([STRANGER, STRANGER, null]);
  });

  test.each(['', 'another-request-with-an-id'])('gives back what comes late (request id "%s")', async (requestId) => {
    const coordinator = await startCoordinator();
    const resource = newResource();
    await takeOn(resource, 0, 1);
    const late = barrier();
    nodeAt(coordinator, 2).sendHolds.set(ACQUIRE, late.passed);
    const request = requestFor(resource, { ttlMs: LONG_MS, requestId });
    expect(await coordinator.locks.acquireLock(request, longCall())).toMatchObject({ status: 'held' });
    late.open();
    await until(() => nodeAt(coordinator, 2).done.includes(GIVE_BACK));
    expect(await valuesOf(resource)).toEqual([STRANGER, STRANGER, null]);
  });

  test('does not show as held what only a minority has', async () => {
    const { locks } = await startCoordinator();
    const resource = newResource();
    await takeOn(resource, 1);
    expect(await locks.getLock(resource, longCall())).toMatchObject({ holders: [], holderCount: 0 });
    await takeOn(resource, 2);
    expect(await locks.getLock(resource, longCall())).toMatchObject({ holderCount: 1 });
  });
});

describe('a grant', () => {
  test('that comes after the call has ended is given back', async () => {
    const coordinator = await startCoordinator();
    const resource = newResource();
    const call = { ...longCall(), ended: false };
    const held = barrier();
    for (const node of coordinator.nodes) node.replyHolds.set(ACQUIRE, held.passed);
    const asked = coordinator.locks.acquireLock(requestFor(resource, { ttlMs: LONG_MS }), call);
    await until(async () => (await valuesOf(resource)).every((value) => value !== null));
    call.ended = true;
    held.open();
    await asked;
    await until(() => coordinator.nodes.every(({ done }) => done.includes(GIVE_BACK)));
    expect(await valuesOf(resource)).toEqual(servers.map(() => null));
  });

  test('is none where the lease was over before a majority answered', async () => {
    const coordinator = await startCoordinator();
    const resource = newResource();
    const held = barrier();
    for (const node of coordinator.nodes) node.replyHolds.set(ACQUIRE, held.passed);
    const asked = coordinator.locks.acquireLock(requestFor(resource, { ttlMs: 120 }), longCall());
    await until(async () => (await valuesOf(resource)).every((value) => value !== null));
    await until(async () => (await valuesOf(resource)).every((value) => value === null));
    const overSince = Date.now();
    held.open();
    const outcome = await asked;
    // the next try was granted, with a lease that begins anew
    expect(outcome).toMatchObject({ status: 'granted' });
    expect(outcome.status === 'granted' && outcome.expiresAtMs > overSince).toBe(true);
  });

  test('is kept although a later try of the same request came too late for its caller', async () => {
    const first = await startCoordinator();
    const second = await startCoordinator();
    const resource = newResource();
    const request = requestFor(resource, { ttlMs: LONG_MS, requestId: `request ${resource} of one` });
    const granted = await first.locks.acquireLock(request, longCall());
    const lockToken = granted.status === 'granted' ? granted.lockToken : '';
    const call = { ...longCall(), ended: false };
    const held = barrier();
    for (const node of second.nodes) node.replyHolds.set(ACQUIRE, held.passed);
    const asked = second.locks.acquireLock(request, call);
    await until(() => second.nodes.every(({ ran }) => ran.includes(ACQUIRE)));
    call.ended = true;
    held.open();
    expect(await asked).toMatchObject({ lockToken });
    // behind what the second try may have sent, on its connections
    expect(await second.locks.extendLock([resource], lockToken, LONG_MS, longCall())).toMatchObject({ notHeld: [] });
  });

  const IGNORE_ANSWERS: Mutation = {
    script: GIVE_BACK,
    from: "is_held_by(key, lock_token) and redis.call('PEXPIRETIME', key) == until_ms",
    to: 'is_held_by(key, lock_token) and until_ms',
  };
  test.each([
    ['is kept although', undefined, true],
    ['would be lost, did a give-back not look at the expiry, when', IGNORE_ANSWERS, false],
  ])('%s an earlier try of the same request gave it back', async (_, mutation, isKept) => {
    const first = await startCoordinator(mutation);
    const second = await startCoordinator();
    const resource = newResource();
    const request = requestFor(resource, { ttlMs: LONG_MS, requestId: `request ${resource} of one` });
    const call = { ...longCall(), ended: false };
    const held = barrier();
    for (const node of first.nodes) node.replyHolds.set(ACQUIRE, held.passed);
    const asked = first.locks.acquireLock(request, call);
    await until(async () => (await valuesOf(resource)).every((value) => value !== null));
    const again = await second.locks.acquireLock(request, longCall());
    expect(again.status).toBe('granted');
    call.ended = true;
    held.open();
    await asked;
    await until(() => first.nodes.every(({ done }) => done.includes(GIVE_BACK)));
    const lockToken = again.status === 'granted' ? again.lockToken : '';
    expect(await valuesOf(resource)).toEqual(servers.map(() => (isKept ? lockToken : null)));
    expect(await second.locks.extendLock([resource], lockToken, LONG_MS, longCall())).toMatchObject({
      notHeld: isKept ? [] : [resource],
    });
  });
});

describe('a token', () => {
  test.each([
    ['two of three masters is the holder', [0, 2], true],
    ['one of three masters is not, and what it has there is kept by ExtendLock and gone by ReleaseLock', [1], false],
  ])('on %s', async (_, indexes, isHolder) => {
    const { locks } = await startCoordinator();
    const resource = newResource();
    await takeOn(resource, ...indexes);
    const notHeld = isHolder ? [] : [resource];
    expect(await locks.extendLock([resource], STRANGER, LONG_MS, longCall())).toMatchObject({ notHeld });
    expect(await valuesOf(resource)).toEqual(servers.map((__, index) => (indexes.includes(index) ? STRANGER : null)));
    expect(await locks.releaseLock([resource], STRANGER, longCall())).toEqual({ notHeld });
    await until(async () => (await valuesOf(resource)).every((value) => value === null));
  });
});
