import { performance } from 'node:perf_hooks';
import { pino } from 'pino';
import { shippedProfiles } from '../../src/config/shipped-policies.js';
import { parseRedisUrl } from '../../src/config/redis-url.js';
import type { Call } from '../../src/redis/call.js';
import { keys } from '../../src/redis/keys.js';
import { Redis } from '../../src/redis/redis.js';
import { Profiles } from '../../src/session/profiles.js';
import { LoginStore } from '../../src/session/login-store.js';
import { sessionScripts } from '../../src/session/scripts.js';
import { SessionStore } from '../../src/session/store.js';
import { sweepScripts } from '../../src/session/sweep-scripts.js';
import { PARTITIONS, SweepStore } from '../../src/session/sweep-store.js';
import { TokenStore } from '../../src/session/token-store.js';
import { TouchGuesses } from '../../src/session/touch-guesses.js';
import { until } from '../support/redis-server.js';

/** Sessions of a namespace past the service: made fast, and looked at in Redis itself. */

export interface StoredEvent {
  readonly type: string;
  readonly session: string;
  readonly cause: string;
  readonly reason: string;
  readonly message: string;
  /** Unix ms. */
  readonly atMs: number;
}

export class SessionsInRedis {
  readonly sweeps: SweepStore;
  private readonly logins: LoginStore;
  private readonly profiles = new Profiles(shippedProfiles({ idleTtlMs: 60_000, maxSessions: 1_000 }));

  private constructor(
    readonly redis: Redis,
    readonly namespace: string,
  ) {
    this.sweeps = new SweepStore(redis);
    const logger = pino({ level: 'silent' });
    const touches = new TouchGuesses();
    const sessions = new SessionStore(redis, logger);
    const tokens = new TokenStore(redis, touches);
    this.logins = new LoginStore({ redis, sessions, tokens, touches, logger });
  }

  static async open(url: string, namespace: string): Promise<SessionsInRedis> {
    const redis = new Redis({
      target: parseRedisUrl(url),
      scripts: [...sessionScripts, ...sweepScripts],
      logger: pino({ level: 'silent' }),
    });
    redis.connect();
    await until(() => redis.isReady);
    return new SessionsInRedis(redis, namespace);
  }

  call(): Call {
    return { namespace: this.namespace, deadlineAt: performance.now() + 30_000, ended: false };
  }

  /** Creates sessions of so many users in turn; answers their ids. */
  async create(count: number, { idleTtlMs, users }: { idleTtlMs: number; users: number }): Promise<string[]> {
    const terms = this.profiles.terms('mobile', idleTtlMs);
    const empty = {
      username: '',
      roles: [],
      permissions: [],
      organizationId: '',
      characterId: '',
      metadata: new Map(),
    };
    const ids: string[] = [];
    const one = async (index: number): Promise<void> => {
      const userId = `user ${String(index % users)}`;
      const content = { ...empty, profile: terms.profile };
      const none = { authenticatedAtMs: undefined, requestId: '', replaces: undefined, evictSessionIds: [] };
      const result = await this.logins.createSession({ userId, content, terms, ...none }, this.call());
      if (result.status !== 'created') throw new Error(`not created: ${result.status}`);
      ids.push(result.session.sessionId);
    };
    for (let from = 0; from < count; from += 1_000) {
      await Promise.all(Array.from({ length: Math.min(1_000, count - from) }, (_, index) => one(from + index)));
    }
    return ids;
  }

  /** What the streams of all partitions hold. */
  async events(): Promise<StoredEvent[]> {
    const streams = await this.ofPartitions((partitionKeys) => ['XRANGE', partitionKeys.events, '-', '+']);
    return streams.flat().map((entry) => {
      const [id, fields] = entry as readonly [Buffer, readonly Buffer[]];
      const told = new Map<string, string>();
      for (let at = 0; at < fields.length; at += 2) told.set(String(fields[at]), String(fields[at + 1]));
      const field = (name: string): string => told.get(name) ?? '';
      return {
        type: field('type'),
        session: field('session'),
        cause: field('cause'),
        reason: field('reason'),
        message: field('message'),
        atMs: Number(String(id).split('-')[0]),
      };
    });
  }

  async eventsOf(type: string): Promise<StoredEvent[]> {
    return (await this.events()).filter((event) => event.type === type);
  }

  /** What the deadline indexes hold, with their scores. */
  async deadlines(): Promise<Map<string, number>> {
    const indexes = await this.ofPartitions(({ deadlines }) => ['ZRANGE', deadlines, '0', '-1', 'WITHSCORES']);
    return new Map(
      indexes.flat().map((entry) => {
        const [member, score] = entry as readonly [Buffer, number];
        return [String(member).split(':')[0] ?? '', score];
      }),
    );
  }

  /** A counter, over all partitions. */
  async counter(name: string): Promise<number> {
    const values = await this.ofPartitions(({ counters }) => ['HMGET', counters, name]);
    return values
      .flat()
      .reduce<number>((sum, value) => sum + (Buffer.isBuffer(value) ? Number(value.toString()) : 0), 0);
  }

  close(): Promise<void> {
    return this.redis.close();
  }

  private async ofPartitions(
    command: (partitionKeys: ReturnType<typeof keys.sessions>) => [string, string, ...string[]],
  ): Promise<(readonly unknown[])[]> {
    const replies = PARTITIONS.map((partition) => {
      const words = command(keys.sessions(this.namespace, partition));
      return this.redis.read(words[1], words, this.call());
    });
    return (await Promise.all(replies)) as (readonly unknown[])[];
  }
}
