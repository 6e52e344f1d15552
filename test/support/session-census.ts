import { createClient, RESP_TYPES } from 'redis';
import { asOurselves } from './redis-user.js';

/** Everything a namespace of sessions has in Redis, held against each other. */

const UNIX = 'unix:';
const FORMAT_SESSION = 1;
const ENDS = new Set(['destroyed', 'expired', 'evicted', 'theft']);
/** What goes with its last member or is there for good; every other key needs an expiry. */
const WITHOUT_EXPIRY = /:(?:tags:\{|user:\{|sessions:\{[^}]*\}:(?:deadlines|counters)$|meta$)/;

export interface SessionEventEntry {
  readonly id: string;
  readonly type: string;
  readonly session: string;
  readonly user: string;
  readonly fields: Readonly<Record<string, string>>;
}

export interface SessionCensus {
  /** Ids of the sessions that have a record. */
  readonly sessions: readonly string[];
  readonly events: readonly SessionEventEntry[];
  /** Sums of all partitions. */
  readonly counters: Readonly<Record<string, number>>;
  /** Everything that does not agree. */
  readonly problems: readonly string[];
}

/** Nobody may write to the namespace meanwhile. `urls`: of the Redis (`unix:` and a path, too), or of all masters of a Cluster. */
export async function takeSessionCensus(urls: readonly string[], namespace: string): Promise<SessionCensus> {
  const found: Found = {
    sessions: [],
    inUserIndexes: [],
    inDeadlines: [],
    events: [],
    counters: {},
    users: 0,
    immortal: [],
  };
  for (const url of urls) await look(url, namespace, found);
  const { sessions, inUserIndexes, inDeadlines, events, counters, users, immortal } = found;
  const problems = [
    ...missing(sessions, inUserIndexes).map((id) => `${id} is in no user's index`),
    ...missing(sessions, inDeadlines).map((id) => `${id} is in no index of deadlines`),
    ...missing(inUserIndexes, sessions).map((id) => `${id} is in a user's index and has no record`),
    ...missing(inDeadlines, sessions).map((id) => `${id} is in an index of deadlines and has no record`),
    ...immortal.map((name) => `${name} has no expiry`),
    ...eventProblems(events, new Set(sessions)),
    ...different('active', counters.active ?? 0, sessions.length),
    ...different('users', counters.users ?? 0, users),
  ];
  return { sessions, events, counters, problems };
}

interface Found {
  readonly sessions: string[];
  readonly inUserIndexes: string[];
  readonly inDeadlines: string[];
  readonly events: SessionEventEntry[];
  readonly counters: Record<string, number>;
  users: number;
  readonly immortal: string[];
}

async function look(url: string, namespace: string, found: Found): Promise<void> {
  const { sessions, inUserIndexes, inDeadlines, events, counters, immortal } = found;
  const redis = createClient({
    ...(url.startsWith(UNIX)
      ? { socket: { path: url.slice(UNIX.length), tls: false as const } }
      : { url: asOurselves(url) }),
    commandOptions: { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer } },
  });
  await redis.connect();
  try {
    const names = (await redis.keys(`${namespace}:*`)).map(String);
    const matching = (part: string): string[] => names.filter((name) => name.startsWith(`${namespace}:${part}:`));
    for (const key of matching('session')) {
      const packed = await redis.get(key);
      if (Buffer.isBuffer(packed) && packed[0] === FORMAT_SESSION) sessions.push(lastPart(key));
    }
    found.users += matching('user').length;
    for (const key of matching('user')) inUserIndexes.push(...(await redis.zRange(key, 0, -1)).map(String));
    for (const key of matching('sessions')) {
      if (key.endsWith(':deadlines')) {
        for (const member of await redis.zRange(key, 0, -1)) inDeadlines.push(String(member).split(':')[0] ?? '');
      } else if (key.endsWith(':counters')) {
        for (const [field, value] of Object.entries(await redis.hGetAll(key))) {
          counters[field] = (counters[field] ?? 0) + Number(String(value));
        }
      } else if (key.endsWith(':events')) {
        for (const { id, message } of (await redis.xRange(key, '-', '+')) ?? []) {
          const fields = Object.fromEntries(Object.entries(message).map(([name, value]) => [name, String(value)]));
          const { type = '', session = '', user = '' } = fields;
          events.push({ id: `${key} ${String(id)}`, type, session, user, fields });
        }
      }
    }
    for (const name of names) {
      if (!WITHOUT_EXPIRY.test(name) && (await redis.pTTL(name)) === -1) immortal.push(name);
    }
  } finally {
    redis.destroy();
  }
}

function eventProblems(events: readonly SessionEventEntry[], live: ReadonlySet<string>): string[] {
  const problems: string[] = [];
  const created = new Map<string, number>();
  const ended = new Map<string, number>();
  for (const { type, session } of events) {
    if (type === 'created') created.set(session, (created.get(session) ?? 0) + 1);
    if (ended.has(session)) problems.push(`${session} is told of after its end`);
    if (ENDS.has(type)) ended.set(session, (ended.get(session) ?? 0) + 1);
  }
  for (const [session, times] of created) {
    const ends = ended.get(session) ?? 0;
    if (times !== 1) problems.push(`the creation of ${session} is told ${String(times)} times`);
    if (ends !== (live.has(session) ? 0 : 1)) problems.push(`the end of ${session} is told ${String(ends)} times`);
  }
  return problems;
}

function missing(some: readonly string[], among: readonly string[]): string[] {
  const there = new Set(among);
  return some.filter((item) => !there.has(item));
}

function different(counter: string, counted: number, there: number): string[] {
  return counted === there ? [] : [`the counter ${counter} says ${String(counted)}, there are ${String(there)}`];
}

function lastPart(key: string): string {
  return key.slice(key.lastIndexOf(':') + 1);
}
