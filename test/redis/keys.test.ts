import { describe, expect, test } from '@jest/globals';
import calculateSlot from 'cluster-key-slot';
import fc from 'fast-check';
import { decodeIdentifier, encodeIdentifier, keys, PARTITION_COUNT, partitionOfUser } from '../../src/redis/keys.js';
import { commandOn } from '../support/redis-server.js';
import { sharedRedisUrl } from '../support/service.js';

const RUNS = { numRuns: 2_000 };
const STRIDE = 16_384 / PARTITION_COUNT;

/** Any well-formed text, often made of what keys are made of. */
const identifier = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.string({
    unit: fc.constantFrom('%', '{', '}', ':', '7', 'B', 'D', '25', '%7B', '\0', '\n', '\x7f', 'ü', 'a'),
    maxLength: 12,
  }),
);
const name = fc.constantFrom('aeturnis', 'a', 'a-b', 'session', '0_9');

/** Redis's rule (cluster-spec): what stands between the first `{` and the first `}` behind it, unless that is nothing. */
function tagOf(key: string): string {
  const open = key.indexOf('{');
  const close = key.indexOf('}', open + 1);
  return open < 0 || close < 0 || close === open + 1 ? key : key.slice(open + 1, close);
}

type KeyBuilder = (namespace: string, id: string, policy: string) => string;
const taggedKeys: readonly [string, KeyBuilder][] = [
  ['cache', (namespace, id) => keys.cache(namespace, id)],
  ['lock', (namespace, id) => keys.lock(namespace, id)],
  ['rateLimit', (namespace, id, policy) => keys.rateLimit(namespace, id, policy)],
  ['concurrency', (namespace, id, policy) => keys.concurrency(namespace, id, policy)],
  ['standing', (namespace, id) => keys.standing(namespace, id)],
  ['reservation', (namespace, id, policy) => keys.reservation(namespace, id, policy)],
];

describe('an identifier', () => {
  test('is found again in its encoded form', () => {
    fc.assert(
      fc.property(identifier, (id) => {
        expect(decodeIdentifier(encodeIdentifier(id))).toBe(id);
      }),
      RUNS,
    );
  });

  test('keeps no brace and no control byte in its encoded form', () => {
    fc.assert(
      fc.property(identifier, (id) => {
        // eslint-disable-next-line no-control-regex -- control bytes are what is looked for
        expect(encodeIdentifier(id)).not.toMatch(/[{}\u0000-\u001f\u007f]/);
      }),
      RUNS,
    );
  });

  test('never meets another one in one key', () => {
    fc.assert(
      fc.property(identifier, identifier, (one, other) => {
        fc.pre(one !== other);
        for (const [, build] of taggedKeys) expect(build('n', one, 'p')).not.toBe(build('n', other, 'p'));
        const users = [one, other].map((id) => keys.revocation('n', 0, id));
        expect(users[0]).not.toBe(users[1]);
      }),
      RUNS,
    );
  });

  test.each([
    ['%7B', '{'],
    ['%257B', '%7B'],
    ['a%00', 'a\0'],
    ['%', '%25'],
    ['%0A', '\n'],
  ])('%j does not meet %j', (one, other) => {
    expect(keys.cache('n', one)).not.toBe(keys.cache('n', other));
  });
});

describe.each(taggedKeys)('the hash tag of a %s key', (_, build) => {
  test('is the whole identifier, so that nobody chooses a slot', () => {
    fc.assert(
      fc.property(name, identifier, name, (namespace, id, policy) => {
        fc.pre(id !== '');
        const key = build(namespace, id, policy);
        expect(tagOf(key)).toBe(encodeIdentifier(id));
        expect(calculateSlot(key)).toBe(calculateSlot(encodeIdentifier(id)));
      }),
      RUNS,
    );
  });

  test('leaves namespaces apart', () => {
    fc.assert(
      fc.property(name, name, identifier, identifier, (one, other, id, otherId) => {
        fc.pre(one !== other);
        expect(build(one, id, 'p')).not.toBe(build(other, otherId, 'p'));
      }),
      RUNS,
    );
  });
});

describe('the key of a character', () => {
  const key = (user: string, id: string): string => keys.character('n', 3, user, id);

  test('is of one user and one id, wherever both have colons', () => {
    fc.assert(
      fc.property(identifier, identifier, identifier, fc.constantFrom(':', '%3A', '%'), (one, two, three, glue) => {
        // told apart from what is put together to the same text, and from the pair the other way round
        const pairs = [
          [`${one}${glue}${two}`, three],
          [one, `${two}${glue}${three}`],
          [three, `${one}${glue}${two}`],
        ] as const;
        const distinct = new Set(pairs.map((pair) => JSON.stringify(pair)));
        expect(new Set(pairs.map(([user, id]) => key(user, id))).size).toBe(distinct.size);
      }),
      RUNS,
    );
  });

  test('has the slot of its partition, whatever the ids', () => {
    fc.assert(
      fc.property(identifier, identifier, (user, id) => {
        expect(calculateSlot(key(user, id))).toBe(3 * STRIDE);
      }),
      RUNS,
    );
  });
});

test('keys of different types, and of named and inline policies, never meet', () => {
  fc.assert(
    fc.property(identifier, identifier, name, (one, other, policy) => {
      const all = taggedKeys.map(([, build], index) => build('n', index % 2 === 0 ? one : other, policy));
      expect(new Set([...all, keys.meta('n'), keys.revocation('n', 1, one)]).size).toBe(all.length + 2);
    }),
    RUNS,
  );
});

describe('the partitions', () => {
  const partitions = Array.from({ length: PARTITION_COUNT }, (_, partition) => partition);
  const keysOf = (partition: number): string[] => {
    const { sessionPrefix, userPrefix, deadlines, counters, events } = keys.sessions('aeturnis', partition);
    const one = [`${sessionPrefix}AAAA`, `${userPrefix}${encodeIdentifier('{x}:}{')}`, deadlines, counters, events];
    const ofUser = [keys.revocation('aeturnis', partition, '{x}'), keys.login('aeturnis', partition, '{x}', '}{')];
    const character = keys.character('aeturnis', partition, '{x}', '}');
    return [...one, ...ofUser, character];
  };

  test('stand evenly over the slots, each with all its keys in one', () => {
    const slots = partitions.map((partition) => new Set(keysOf(partition).map((key) => calculateSlot(key))));
    expect(slots).toEqual(partitions.map((partition) => new Set([partition * STRIDE])));
  });

  test('have tags that differ and are short', () => {
    const tags = partitions.map((partition) => tagOf(keys.sessions('n', partition).events));
    expect(new Set(tags).size).toBe(PARTITION_COUNT);
    expect(Math.max(...tags.map((tag) => tag.length))).toBeLessThanOrEqual(4);
  });

  test('are as many as told, and no other one has keys', () => {
    expect(() => keys.sessions('n', PARTITION_COUNT)).toThrow(RangeError);
    expect(() => keys.sessions('n', -1)).toThrow(RangeError);
  });

  test('take users evenly, and each always the same', () => {
    const counts = new Array<number>(PARTITION_COUNT).fill(0);
    for (let user = 0; user < PARTITION_COUNT * 100; user++) {
      const partition = partitionOfUser(`user-${String(user)}`);
      counts[partition] = (counts[partition] ?? 0) + 1;
    }
    expect(Math.min(...counts)).toBeGreaterThan(50);
    expect(Math.max(...counts)).toBeLessThan(150);
    // fixed for ever: stored data is found by it
    expect(['', 'ada', 'ü'].map((user) => partitionOfUser(user))).toEqual([432, 494, 116]);
  });
});

test('a login of another user, request or partition has another key', () => {
  fc.assert(
    fc.property(identifier, identifier, identifier, (one, other, third) => {
      // neither a user id nor a request id may have a NUL
      const [user, request, another] = [one, other, third].map((text) => text.replaceAll('\0', '')) as [
        string,
        string,
        string,
      ];
      fc.pre(request !== another && user !== another);
      const login = keys.login('n', 1, user, request);
      expect(keys.login('n', 1, user, another)).not.toBe(login);
      expect(keys.login('n', 1, another, request)).not.toBe(login);
      expect(keys.login('n', 2, user, request)).not.toBe(login);
      if (request !== '') expect(keys.login('n', 1, user + request, '')).not.toBe(login);
    }),
    RUNS,
  );
});

test('the statistics of a namespace are keys of one slot, and of no other namespace or kind', () => {
  const keysOf = (namespace: string, of: 'cacheStats' | 'lockStats' | 'rateLimitStats' = 'cacheStats'): string[] => {
    const { stats, hotEven, hotOdd } = keys[of](namespace);
    return [stats, hotEven, hotOdd];
  };
  fc.assert(
    fc.property(name, name, (one, other) => {
      fc.pre(one !== other);
      expect(new Set(keysOf(one, 'lockStats').map((key) => calculateSlot(key))).size).toBe(1);
      const stats = keysOf(one);
      expect(new Set(stats.map((key) => calculateSlot(key))).size).toBe(1);
      const others = [...keysOf(other), ...keysOf(one, 'lockStats'), ...keysOf(one, 'rateLimitStats')];
      const all = [...stats, ...others, keys.tags(one), keys.cache(one, `stats:${one}`)];
      expect(new Set(all).size).toBe(stats.length * 4 + 2);
    }),
  );
});

describe('the key of a lock that users of redlock share', () => {
  /** One of every key that is built here; the type asks for what is new. */
  const samples: Readonly<Record<Exclude<keyof typeof keys, 'redlock'>, (namespace: string, id: string) => unknown>> = {
    cache: keys.cache,
    cachePrefix: keys.cachePrefix,
    counterFence: keys.counterFence,
    incrementRequest: (namespace, id) => keys.incrementRequest(namespace, id, id),
    tags: keys.tags,
    cacheStats: keys.cacheStats,
    lock: keys.lock,
    lockPrefix: keys.lockPrefix,
    lockStats: keys.lockStats,
    rateLimitStats: keys.rateLimitStats,
    lockWakes: () => [],
    lockWake: () => [],
    quorumMarker: keys.quorumMarker,
    rateLimit: (namespace, id) => keys.rateLimit(namespace, id, 'chat'),
    concurrency: (namespace, id) => keys.concurrency(namespace, id, 'chat'),
    standing: keys.standing,
    standingPrefix: keys.standingPrefix,
    reservation: (namespace, id) => keys.reservation(namespace, id, 'x'),
    // channels are not in the keyspace
    standings: () => [],
    standingChannel: () => [],
    session: (namespace, id) => keys.session(namespace, 7, id),
    sessions: (namespace) => keys.sessions(namespace, 7),
    character: (namespace, id) => keys.character(namespace, 7, id, id),
    revocation: (namespace, id) => keys.revocation(namespace, 7, id),
    login: (namespace, id) => keys.login(namespace, 7, id, id),
    sweeper: keys.sweeper,
    meta: keys.meta,
  };
  const keysOf = (namespace: string, id: string): string[] =>
    Object.values(samples).flatMap((build) => {
      const built = build(namespace, id);
      return typeof built === 'string' ? [built] : Object.values(built as Readonly<Record<string, string>>);
    });

  test('is none that any namespace has for itself, wherever prefix and resource meet', () => {
    fc.assert(
      fc.property(name, name, identifier, fc.nat(), (own, other, id, cut) => {
        for (const key of keysOf(other, id)) {
          const at = cut % (key.length + 1);
          expect(keys.redlock(own, key.slice(0, at), key.slice(at))).toBeUndefined();
        }
      }),
    );
  });

  test('is none of its own namespace, and else prefix and resource as they are', () => {
    expect(keys.redlock('aeturnis', '', 'aeturnis:locks:7')).toBeUndefined();
    expect(keys.redlock('aeturnis', 'aet', 'urnis:')).toBeUndefined();
    for (const resource of ['aeturnis', 'locks:account:7', 'user:42', '{user:42}:trade', 'A:b:{c}']) {
      expect(keys.redlock('aeturnis', '', resource)).toBe(resource);
      expect(keys.redlock('aeturnis', 'app/', resource)).toBe(`app/${resource}`);
    }
  });
});

test('Redis sees the same slots', async () => {
  const port = Number(/:(\d+)/.exec(sharedRedisUrl('cluster').replace('redis+cluster:', ''))?.[1]);
  const samples = [
    ...fc.sample(identifier, { numRuns: 60, seed: 7 }).map((id) => keys.cache('aeturnis', id)),
    ...[0, 1, 255, 511].map((partition) => keys.sessions('aeturnis', partition).events),
    keys.lock('aeturnis', '{a}{b}'),
    keys.rateLimit('aeturnis', 'user:{7}', 'chat'),
  ];
  const slots = await Promise.all(samples.map((key) => commandOn(port, ['CLUSTER', 'KEYSLOT', key])));
  expect(slots).toEqual(samples.map((key) => calculateSlot(key)));
});
