import { partitionOfUser, keys } from '../../src/redis/keys.js';
import type { RawRedis } from './raw-redis.js';

/** What Redis holds of sessions beside their records, read past the service. */

/** An event of the partition's stream, with the fields it has. */
export type StoredEvent = Readonly<Partial<Record<string, string>>> & {
  readonly type: string;
  readonly session: string;
};

/** The types of events that end a session. */
export const TERMINAL_EVENTS: ReadonlySet<string> = new Set(['destroyed', 'expired', 'evicted', 'theft']);

export class SessionBooks {
  constructor(
    private readonly redis: RawRedis,
    private readonly namespace: string,
  ) {}

  /** The events of a user's partition, oldest first. */
  async events(userId: string): Promise<StoredEvent[]> {
    const { events } = keys.sessions(this.namespace, partitionOfUser(userId));
    const stored = (await this.redis.command('XRANGE', events, '-', '+')) as [unknown, unknown[]][];
    return stored.map(([, fields]) => {
      const texts = fields.map(String);
      const pairs = texts.flatMap((text, index) => (index % 2 === 0 ? [[text, texts[index + 1] ?? '']] : []));
      return Object.fromEntries(pairs) as StoredEvent;
    });
  }

  /** Of one session. */
  async eventsOf(userId: string, sessionId: string): Promise<StoredEvent[]> {
    return (await this.events(userId)).filter(({ session }) => session === sessionId);
  }

  async typesOf(userId: string, sessionId: string): Promise<string[]> {
    return (await this.eventsOf(userId, sessionId)).map(({ type }) => type);
  }

  /** A counter of the user's partition. */
  async counter(userId: string, name: string): Promise<number> {
    const { counters } = keys.sessions(this.namespace, partitionOfUser(userId));
    return number(await this.redis.command('HGET', counters, name)) ?? 0;
  }

  /** The ids in the user's index, oldest first. */
  async indexed(userId: string): Promise<string[]> {
    const { userPrefix } = keys.sessions(this.namespace, partitionOfUser(userId));
    return ((await this.redis.command('ZRANGE', userPrefix + userId, '0', '-1')) as unknown[]).map(String);
  }

  /** When the sweeper looks at a session next; undefined where it is in no index. */
  async dueAtMs(userId: string, sessionId: string): Promise<number | undefined> {
    const { deadlines } = keys.sessions(this.namespace, partitionOfUser(userId));
    return number(await this.redis.command('ZSCORE', deadlines, `${sessionId}:${userId}`));
  }

  /** The packed record; undefined where there is none. */
  async record(userId: string, sessionId: string): Promise<Buffer | undefined> {
    const packed = await this.redis.command('GET', keys.session(this.namespace, partitionOfUser(userId), sessionId));
    return Buffer.isBuffer(packed) ? packed : undefined;
  }
}

/** RESP3 has scores as numbers and fields of hashes as bytes. */
function number(reply: unknown): number | undefined {
  return Buffer.isBuffer(reply) ? Number(reply.toString()) : typeof reply === 'number' ? reply : undefined;
}
