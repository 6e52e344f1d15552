import { createHash } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { pino } from 'pino';
import { parseRedisUrl } from '../../../src/config/redis-url.js';
import type { AcquireRequest } from '../../../src/lock/backend.js';
import { quarantineOf } from '../../../src/lock/quorum/create-quorum-locks.js';
import { QuorumCounts } from '../../../src/lock/quorum/counts.js';
import { QuorumMaster, type Voter } from '../../../src/lock/quorum/master.js';
import { QuorumLocks, type QuorumSettings } from '../../../src/lock/quorum/quorum-locks.js';
import type { Call, ParkableCall } from '../../../src/redis/call.js';
import { redisUnavailable } from '../../../src/redis/errors.js';
import { keys } from '../../../src/redis/keys.js';
import type { AnyLuaScript, BoundScript } from '../../../src/redis/lua-script.js';
import { startRedis, until, type RedisServer } from '../../support/redis-server.js';
import { killServiceProcesses } from '../../support/service-process.js';
import {
  randomNamespace,
  sharedRedisUrl,
  startTestService,
  type Environment,
  type TestService,
} from '../../support/service.js';

/** Quorums of real masters for tests, and services that use them, in this process. */

const FOREVER_MS = 3_600_000;

/** A change of a script of the quorum: `from` occurs once in it. */
export interface ScriptMutation {
  readonly script: string;
  readonly from: string;
  readonly to: string;
}

/** Stands before a real master, and can do to what is sent to it what a network does. */
export class TestVoter implements Voter {
  /** Whether what is sent arrives. */
  isReachable = true;
  /** What is sent of a script waits for this before it is sent. */
  readonly holds = new Map<string, Promise<void>>();
  private readonly mutants = new Map<string, AnyLuaScript>();

  constructor(
    private readonly master: QuorumMaster,
    private readonly mutations: readonly ScriptMutation[],
  ) {}

  get address(): string {
    return this.master.address;
  }

  get isConnected(): boolean {
    return this.master.isConnected;
  }

  get isReady(): boolean {
    return this.master.isReady;
  }

  onStateChange(listener: (ready: boolean) => void): void {
    this.master.onStateChange(listener);
  }

  noteAmnesia(): void {
    this.master.noteAmnesia();
  }

  async run<Reply>(bound: BoundScript<Reply>, call: Call): Promise<Reply> {
    const hold = this.holds.get(bound.script.name);
    if (hold !== undefined) await hold;
    if (!this.isReachable) throw redisUnavailable('a test keeps it away');
    return this.master.run({ ...bound, script: this.mutantOf(bound.script) }, call);
  }

  private mutantOf<Reply>(script: AnyLuaScript<Reply>): AnyLuaScript<Reply> {
    const mutations = this.mutations.filter(({ script: name }) => name === script.name);
    if (mutations.length === 0) return script;
    const known = this.mutants.get(script.name);
    let { source } = known ?? script;
    if (known === undefined) {
      for (const { from, to } of mutations) {
        if (source.split(from).length !== 2) throw new Error(`"${from}" is not once in ${script.name}`);
        source = source.replace(from, () => to);
      }
    }
    const mutant = { ...script, source, sha1: createHash('sha1').update(source).digest('hex') };
    this.mutants.set(script.name, mutant);
    return mutant;
  }
}

/** One service's view of a quorum. */
export interface Coordinator {
  readonly locks: QuorumLocks;
  readonly voters: readonly TestVoter[];
  close(): Promise<void>;
}

export interface CoordinatorOptions extends Partial<QuorumSettings> {
  readonly namespace: string;
  readonly mutations?: readonly ScriptMutation[];
}

export const TEST_MAX_TTL_MS = 500;
export const TEST_MAX_SKEW_MS = 500;

/** Connects and waits until all masters vote. */
export async function startCoordinator(
  servers: readonly RedisServer[],
  { namespace, mutations = [], ...settings }: CoordinatorOptions,
): Promise<Coordinator> {
  const logger = pino({ level: process.env.TEST_LOG_LEVEL ?? 'silent' });
  const { maxTtlMs = TEST_MAX_TTL_MS, maxSkewMs = TEST_MAX_SKEW_MS, nodeTimeoutMs } = settings;
  const masters = servers.map(({ url }) => {
    const target = parseRedisUrl(url);
    if (target.topology !== 'standalone') throw new Error('a master is no Cluster');
    return new QuorumMaster({
      target,
      namespace,
      quarantineMs: quarantineOf(maxTtlMs, maxSkewMs),
      strictEviction: true,
      logger,
      sameProcess: () => undefined,
      onUnusable: (error) => {
        throw error;
      },
    });
  });
  const voters = masters.map((master) => new TestVoter(master, mutations));
  const locks = new QuorumLocks({
    masters: voters,
    counts: new QuorumCounts(voters, logger),
    namespace,
    fenceRetentionMs: FOREVER_MS,
    maxTtlMs,
    maxSkewMs,
    nodeTimeoutMs,
  });
  for (const master of masters) master.connect();
  await until(() => masters.every(({ isReady }) => isReady));
  return {
    locks,
    voters,
    close: async () => {
      locks.drain();
      await Promise.all(masters.map((master) => master.close()));
    },
  };
}

export function startMasters(count: number, flags?: readonly string[]): Promise<readonly RedisServer[]> {
  return Promise.all(Array.from({ length: count }, () => startRedis(flags)));
}

/** Lets masters vote at once: nothing has been forgotten where a test has just started them. */
export async function admitNow(servers: readonly RedisServer[], namespace = randomNamespace()): Promise<string> {
  await Promise.all(
    servers.map(async (server) => {
      const run = /run_id:(\w+)/.exec(String(await server.command('INFO', 'server')))?.[1] ?? '';
      const fields = ['run', run, 'since', '0', 'quarantine', '1', 'admitted', '1'];
      await server.command('HSET', keys.quorumMarker(namespace), ...fields);
    }),
  );
  return namespace;
}

/** A call that nothing but its deadline ends. */
export function callOf(namespace: string, deadlineMs = 5_000): ParkableCall {
  const deadlineAt = performance.now() + deadlineMs;
  return {
    namespace,
    deadlineAt,
    get ended() {
      return performance.now() >= deadlineAt;
    },
    park: () => true,
    unpark: () => undefined,
    whenEnded: () => undefined,
  };
}

export function requestFor(resource: string, terms: Partial<AcquireRequest> = {}): AcquireRequest {
  return {
    resources: [resource],
    ttlMs: TEST_MAX_TTL_MS,
    waitMs: 0,
    owner: '',
    requestId: '',
    permits: 0,
    capacity: 1_000_000,
    reentrant: false,
    ...terms,
  };
}

/** Masters and services of one test. */
export class QuorumBed {
  masters: RedisServer[] = [];
  private services: TestService[] = [];

  /** For `afterEach`. */
  readonly clear = async (): Promise<void> => {
    await killServiceProcesses();
    await Promise.all(this.services.map((service) => service.stop()));
    await Promise.all(this.masters.map((master) => master.remove()));
    [this.masters, this.services] = [[], []];
  };

  environment(namespace: string, env: Environment = {}): Environment {
    const urls = this.masters.map(({ url }) => url).join(',');
    return { REDIS_URL: sharedRedisUrl('standalone'), NAMESPACE: namespace, LOCK_REDIS_URLS: urls, ...env };
  }

  /** A service on three masters that vote. */
  async start(env: Environment = {}, flags: readonly string[] = []): Promise<TestService> {
    this.masters = await Promise.all([0, 1, 2].map(() => startRedis(flags)));
    const service = await startTestService(this.environment(await admitNow(this.masters), env));
    this.services.push(service);
    return service;
  }

  masterAt(index: number): RedisServer {
    const master = this.masters[index];
    if (master === undefined) throw new RangeError('no master');
    return master;
  }

  /** What one master answers to a command. */
  ask(index: number, ...command: readonly string[]): Promise<unknown> {
    return this.masterAt(index).command(...command);
  }
}
