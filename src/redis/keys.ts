import { createHash } from 'node:crypto';
import calculateSlot from 'cluster-key-slot';

/**
 * Every Redis key of the product is built here: `<namespace>:<type>:<identifier>`, one free identifier a key, in the
 * hash tag or last. All keys of one script share a tag, so that every script runs unchanged on Redis Cluster.
 */

/** Raised when the layout of keys or records changes in a way an older service cannot live with. */
export const FORMAT_VERSION = 1;

/** Sessions are spread over this many partitions by user; all data of one user shares its partition's slot. */
export const PARTITION_COUNT = 512;

const SLOT_COUNT = 16_384;

/** Namespace, policy and type names. */
export const NAME_PATTERN = /^[a-z0-9_-]{1,32}$/;

/**
 * Makes a caller's identifier safe inside a hash tag: percent-encodes what could close the tag (`{`, `}`), control bytes,
 * and `%` itself. Injective, so two identifiers never meet in one key, and none chooses its slot.
 */
export function encodeIdentifier(identifier: string): string {
  for (let index = 0; index < identifier.length; index++) {
    if (mustBeEncoded(identifier.charCodeAt(index))) return encodeAll(identifier);
  }
  return identifier;
}

const PERCENT = 0x25;
const OPENING_BRACE = 0x7b;
const CLOSING_BRACE = 0x7d;
const DELETE = 0x7f;

function mustBeEncoded(code: number): boolean {
  return code < 0x20 || code === PERCENT || code === OPENING_BRACE || code === CLOSING_BRACE || code === DELETE;
}

function encodeAll(identifier: string): string {
  let encoded = '';
  for (const char of identifier) {
    const code = char.charCodeAt(0);
    encoded += mustBeEncoded(code) ? `%${code.toString(16).toUpperCase().padStart(2, '0')}` : char;
  }
  return encoded;
}

/** The inverse of {@link encodeIdentifier}. */
export function decodeIdentifier(encoded: string): string {
  if (!encoded.includes('%')) return encoded;
  return encoded.replace(/%([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/**
 * The tag of partition p: the first of "0", "1", … in base 36 whose slot is p·16384/512, so that partitions spread
 * evenly over masters (plain numbers would give the fullest of 12 masters 1.59 times the average).
 */
function partitionTags(): readonly string[] {
  const tags = new Array<string>(PARTITION_COUNT).fill('');
  const stride = SLOT_COUNT / PARTITION_COUNT;
  let found = 0;
  for (let candidate = 0; found < PARTITION_COUNT; candidate++) {
    const tag = candidate.toString(36);
    const slot = calculateSlot(tag);
    if (slot % stride !== 0) continue;
    const partition = slot / stride;
    if (tags[partition] !== '') continue;
    tags[partition] = tag;
    found++;
  }
  return tags;
}

const PARTITION_TAGS = partitionTags();

function partitionTag(partition: number): string {
  const tag = PARTITION_TAGS[partition];
  if (tag === undefined) throw new RangeError(`no partition ${String(partition)}`);
  return tag;
}

/** The partition of a user: the first 16 bits of SHA-256(user id), mod 512. */
export function partitionOfUser(userId: string): number {
  return createHash('sha256').update(userId, 'utf8').digest().readUInt16BE(0) % PARTITION_COUNT;
}

/** How every key of any namespace begins that this file builds: a hash tag behind the type, or a type that has none. */
const OWN_SHAPE = /^[a-z0-9_-]{1,32}:(?:[a-z0-9_-]{1,32}:\{|(?:meta|quorum|sweeper)$)/;

/** The keys and key prefixes that a session script needs; all in the slot of one partition. */
export interface SessionKeys {
  /** Followed by a session id: that session. */
  readonly sessionPrefix: string;
  /** Followed by an encoded user id: ZSET of the user's session ids, scored by creation. */
  readonly userPrefix: string;
  /**
   * ZSET of `<session id>:<encoded user id>`, scored by a lower bound of the deadline; and, without a colon, the mark of
   * a partition whose sessions are being destroyed.
   */
  readonly deadlines: string;
  /** Hash of counters. */
  readonly counters: string;
  /** Stream of session events. */
  readonly events: string;
}

/** The keys of what a service counts in a namespace. */
export interface StatsKeys {
  /** Hash of what was counted, in all and by minute. */
  readonly stats: string;
  /** ZSET of the names that were met most, of a minute with an even number. */
  readonly hotEven: string;
  /** Of one with an odd number. */
  readonly hotOdd: string;
}

function statsKeys(namespace: string, of: string): StatsKeys {
  const tag = `{${of}:${namespace}}`;
  return {
    stats: `${namespace}:stats:${tag}`,
    hotEven: `${namespace}:hot:${tag}:even`,
    hotOdd: `${namespace}:hot:${tag}:odd`,
  };
}

export const keys = {
  /** A cache entry, counter or collection. */
  cache: (namespace: string, key: string): string => `${namespace}:cache:{${encodeIdentifier(key)}}`,

  /** How all keys of `cache` begin whose identifier begins so, and no other key. */
  cachePrefix: (namespace: string, prefix: string): string => `${namespace}:cache:{${encodeIdentifier(prefix)}`,

  /** The fence of a counter, which has no header to hold it. */
  counterFence: (namespace: string, key: string): string => `${namespace}:fence:{${encodeIdentifier(key)}}`,

  /** What an increment with a request id was answered. */
  incrementRequest: (namespace: string, key: string, requestId: string): string =>
    `${namespace}:request:{${encodeIdentifier(key)}}:${encodeIdentifier(requestId)}`,

  /** The tag table of a namespace. */
  tags: (namespace: string): string => `${namespace}:tags:{tags:${namespace}}`,

  /** The statistics of a namespace's cache; all in one slot. */
  cacheStats: (namespace: string): StatsKeys => statsKeys(namespace, 'stats'),

  /** The statistics of a namespace's locks; all in one slot. */
  lockStats: (namespace: string): StatsKeys => statsKeys(namespace, 'locks'),

  /** The statistics of a namespace's rate limits; all in one slot. */
  rateLimitStats: (namespace: string): StatsKeys => statsKeys(namespace, 'limits'),

  /** A lock: one hash with holders, permits, fence and queue. */
  lock: (namespace: string, resource: string): string => `${namespace}:lock:{${encodeIdentifier(resource)}}`,

  /** How all keys of `lock` begin whose resource begins so, and no other key. */
  lockPrefix: (namespace: string, prefix: string): string => `${namespace}:lock:{${encodeIdentifier(prefix)}`,

  /** Channel on which a process is told of its locks, on one Redis. */
  lockWakes: (namespace: string, instance: string): string => `${namespace}:locks:${instance}`,
  /** Channel on which a process is told of one lock, in the slot of that lock. */
  lockWake: (lock: string, instance: string): string => `${lock}:${instance}`,
  /**
   * A lock that users of npm `redlock` share: as they write it, outside all namespaces. Undefined for what a namespace has
   * for itself: all of this one, and of others what only a service like this one would write there.
   */
  redlock: (namespace: string, prefix: string, resource: string): string | undefined => {
    const key = `${prefix}${resource}`;
    return key.startsWith(`${namespace}:`) || OWN_SHAPE.test(key) ? undefined : key;
  },
  /** On a master of a quorum: whether it votes. Not in the slot of any lock: such a master is no Cluster. */
  quorumMarker: (namespace: string): string => `${namespace}:quorum`,

  /** A rate limit under a policy; `policy` is its name as {@link inlinePolicyName} or the policies file gives it. */
  rateLimit: (namespace: string, subject: string, policy: string): string =>
    `${namespace}:ratelimit:{${encodeIdentifier(subject)}}:${policy}`,

  /** The same under one that counts how many at once, whose record is another type of Redis. */
  concurrency: (namespace: string, subject: string, policy: string): string =>
    `${namespace}:concurrency:{${encodeIdentifier(subject)}}:${policy}`,

  /** What people and its denials decided about a subject of rate limits. */
  standing: (namespace: string, subject: string): string => `${namespace}:standing:{${encodeIdentifier(subject)}}`,

  /** How all keys of `standing` begin whose subject begins so, and no other key. */
  standingPrefix: (namespace: string, prefix: string): string => `${namespace}:standing:{${encodeIdentifier(prefix)}`,

  /** What a check with a request id, or a reservation, was charged. */
  reservation: (namespace: string, subject: string, id: string): string =>
    `${namespace}:reservation:{${encodeIdentifier(subject)}}:${encodeIdentifier(id)}`,

  /** Channel on which every process is told of subjects that may be admitted again, on one Redis. */
  standings: (namespace: string): string => `${namespace}:standings`,
  /** Channel on which that is told of one subject, in its slot. `standing`: its key. */
  standingChannel: (standing: string): string => `${standing}:told`,

  /** A session. */
  session: (namespace: string, partition: number, sessionId: string): string =>
    `${namespace}:session:{${partitionTag(partition)}}:${sessionId}`,

  /** The keys of one session partition. */
  sessions: (namespace: string, partition: number): SessionKeys => {
    const tag = partitionTag(partition);
    return {
      sessionPrefix: `${namespace}:session:{${tag}}:`,
      userPrefix: `${namespace}:user:{${tag}}:`,
      deadlines: `${namespace}:sessions:{${tag}}:deadlines`,
      counters: `${namespace}:sessions:{${tag}}:counters`,
      events: `${namespace}:sessions:{${tag}}:events`,
    };
  },

  /** Who plays a user's character. A colon in the user's id is encoded too: the first one ends it. */
  character: (namespace: string, partition: number, userId: string, characterId: string): string => {
    const user = encodeIdentifier(userId).replaceAll(':', '%3A');
    return `${namespace}:character:{${partitionTag(partition)}}:${user}:${encodeIdentifier(characterId)}`;
  },

  /** A user's revoked_at and block; a key of its own because it expires and the session index must not. */
  revocation: (namespace: string, partition: number, userId: string): string =>
    `${namespace}:revocation:{${partitionTag(partition)}}:${encodeIdentifier(userId)}`,

  /** What a login with a request id made; neither id can be told from it. */
  login: (namespace: string, partition: number, userId: string, requestId: string): string => {
    // neither has a NUL
    const hash = createHash('sha256').update(`${userId}\0${requestId}`, 'utf8').digest('hex');
    return `${namespace}:login:{${partitionTag(partition)}}:${hash}`;
  },

  /** The lease of the one process that ends the namespace's sessions which have run out. */
  sweeper: (namespace: string): string => `${namespace}:sweeper`,

  /** The format version and partition rule of the data in this namespace. */
  meta: (namespace: string): string => `${namespace}:meta`,
} as const;

/** The namespace of a key that was built here. */
export function namespaceOfKey(redisKey: string): string {
  return redisKey.slice(0, redisKey.indexOf(':'));
}

/** Whether one script may take all of them on a Cluster. */
export function shareSlot(redisKeys: readonly string[]): boolean {
  return new Set(redisKeys.map((key) => calculateSlot(key))).size <= 1;
}

/** Characters that mean something in a pattern of SCAN. */
const GLOB_SPECIAL = /[*?[\]\\]/g;

/** What SCAN's MATCH takes to find all keys that begin so. */
function scanPattern(beginning: string): string {
  return `${beginning.replace(GLOB_SPECIAL, '\\$&')}*`;
}

/** What SCAN's MATCH takes to find all keys of `keys.cache` whose identifier begins so; some others match too. */
export function cacheScanPattern(namespace: string, prefix: string): string {
  return scanPattern(keys.cachePrefix(namespace, prefix));
}

/** The same for `keys.lock`. */
export function lockScanPattern(namespace: string, prefix: string): string {
  return scanPattern(keys.lockPrefix(namespace, prefix));
}

/** The same for `keys.standing`. */
export function standingScanPattern(namespace: string, prefix: string): string {
  return scanPattern(keys.standingPrefix(namespace, prefix));
}

/** The identifier that `build` makes a key of; undefined for what no identifier of a caller becomes. */
function identifierOf(redisKey: Buffer, prefix: string, build: (identifier: string) => string): string | undefined {
  const text = redisKey.toString('utf8');
  if (!text.startsWith(prefix) || !text.endsWith('}')) return undefined;
  const identifier = decodeIdentifier(text.slice(prefix.length, -1));
  // another spelling of the same identifier, or bytes that are no UTF-8, would name another key of Redis
  return identifier !== '' && Buffer.from(build(identifier)).equals(redisKey) ? identifier : undefined;
}

/** The inverse of `keys.cache`: undefined for what no key of a caller becomes. */
export function cacheKeyOf(namespace: string, redisKey: Buffer): string | undefined {
  return identifierOf(redisKey, keys.cachePrefix(namespace, ''), (key) => keys.cache(namespace, key));
}

/** The inverse of `keys.lock`: undefined for what no resource becomes. */
export function lockResourceOf(namespace: string, redisKey: Buffer): string | undefined {
  return identifierOf(redisKey, keys.lockPrefix(namespace, ''), (resource) => keys.lock(namespace, resource));
}

/** The inverse of `keys.standing`: undefined for what no subject becomes. */
export function standingSubjectOf(namespace: string, redisKey: Buffer): string | undefined {
  return identifierOf(redisKey, keys.standingPrefix(namespace, ''), (subject) => keys.standing(namespace, subject));
}
