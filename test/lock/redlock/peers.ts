import { createClient } from 'redis';
import Redlock4 from 'redlock4';
import Redlock5, { ExecutionError } from 'redlock5';
import { AcquireLockStatus, LockOwnershipStatus } from '../../../src/gen/shardkeep/lock/v1/lock.js';
import type { RedisServer } from '../../support/redis-server.js';
import type { TestService } from '../../support/service.js';
import { asOurselves } from '../../support/redis-user.js';

/**
 * Three kinds of clients that lock the same resources: npm `redlock` 4.2.0 and 5.0.0-beta.2, each driven through node-redis
 * by an adapter with a deadline for each node (both packages hang without), and LockService.
 */

export const KINDS = ['redlock 4', 'redlock 5', 'LockService'] as const;
export type Kind = (typeof KINDS)[number];

/** A lock as one of the clients has it. */
export interface PeerLock {
  /** What its keys hold. */
  readonly value: string;
  /** Whether it was done. */
  extend(ttlMs: number): Promise<boolean>;
  release(): Promise<boolean>;
}

export interface Peer {
  /** One try; undefined: another has one of them. */
  lock(resources: readonly string[], ttlMs: number): Promise<PeerLock | undefined>;
  close(): void;
}

type Client = Awaited<ReturnType<typeof connect>>;

const NODE_DEADLINE_MS = 1_000;

export async function connectPeer(
  kind: Kind,
  servers: readonly RedisServer[],
  service: TestService,
  nodeDeadlineMs = NODE_DEADLINE_MS,
): Promise<Peer> {
  if (kind === 'LockService') return lockServicePeer(service);
  const clients = await Promise.all(servers.map(({ url }) => connect(url)));
  const close = (): void => {
    for (const client of clients) client.destroy();
  };
  const lock = kind === 'redlock 4' ? redlock4(clients, nodeDeadlineMs) : redlock5(clients, nodeDeadlineMs);
  return { lock, close };
}

async function connect(url: string) {
  const client = createClient({ url: asOurselves(url), disableOfflineQueue: true });
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

/** What the package sends: a script by its hash or its text, the number of keys, keys and arguments. */
function send(
  client: Client,
  command: 'EVALSHA' | 'EVAL',
  args: readonly unknown[],
  deadlineMs: number,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      reject(new Error('the node does not answer'));
    }, deadlineMs);
    client
      .sendCommand([command, ...args.map(String)])
      .then(resolve, reject)
      .finally(() => {
        clearTimeout(timer);
      });
  });
}

function redlock4(clients: readonly Client[], deadlineMs: number): Peer['lock'] {
  const answer = (reply: Promise<unknown>, callback: (error: unknown, reply?: unknown) => void): void => {
    reply.then(
      (value) => {
        callback(null, value);
      },
      (error: unknown) => {
        callback(error);
      },
    );
  };
  const redlock = new Redlock4(
    clients.map((client) => ({
      evalsha: (sha1, args, callback) => {
        answer(send(client, 'EVALSHA', [sha1, ...args], deadlineMs), callback);
      },
      eval: (args, callback) => {
        answer(send(client, 'EVAL', args, deadlineMs), callback);
      },
    })),
    { retryCount: 0 },
  );
  // without a listener the process ends
  redlock.on('clientError', () => undefined);
  const isRefusal = (error: unknown): boolean => error instanceof Redlock4.LockError;
  return async (resources, ttlMs) => {
    const lock = await orUndefined(redlock.lock([...resources], ttlMs), isRefusal);
    return (
      lock && {
        value: lock.value,
        extend: (forMs) => isDone(lock.extend(forMs), isRefusal),
        release: () => isDone(lock.unlock(), isRefusal),
      }
    );
  };
}

function redlock5(clients: readonly Client[], deadlineMs: number): Peer['lock'] {
  const redlock = new Redlock5(
    clients.map((client) => ({
      evalsha: (sha1, keyCount, args) => send(client, 'EVALSHA', [sha1, keyCount, ...args], deadlineMs),
      eval: (source, keyCount, args) => send(client, 'EVAL', [source, keyCount, ...args], deadlineMs),
      quit: () => client.close(),
    })),
    { retryCount: 0 },
  );
  const isRefusal = (error: unknown): boolean => error instanceof ExecutionError;
  return async (resources, ttlMs) => {
    let lock = await orUndefined(redlock.acquire([...resources], ttlMs), isRefusal);
    return (
      lock && {
        value: lock.value,
        extend: (forMs) =>
          isDone(
            (lock?.extend(forMs) ?? Promise.reject(new Error('unreachable'))).then((extended) => {
              lock = extended;
            }),
            isRefusal,
          ),
        release: () => isDone(lock?.release() ?? Promise.resolve(), isRefusal),
      }
    );
  };
}

function lockServicePeer({ locks }: TestService): Peer {
  return {
    lock: async (resources, ttlMs) => {
      const { status, lockToken } = await locks.acquireLock({ resources: [...resources], ttlMs: BigInt(ttlMs) });
      if (status !== AcquireLockStatus.GRANTED) return undefined;
      const held = { resources: [...resources], lockToken };
      return {
        value: lockToken,
        extend: async (forMs) =>
          (await locks.extendLock({ ...held, ttlMs: BigInt(forMs) })).status === LockOwnershipStatus.DONE,
        release: async () => (await locks.releaseLock(held)).status === LockOwnershipStatus.DONE,
      };
    },
    close: () => undefined,
  };
}

async function orUndefined<Value>(
  promise: Promise<Value>,
  isRefusal: (error: unknown) => boolean,
): Promise<Value | undefined> {
  try {
    return await promise;
  } catch (error) {
    if (isRefusal(error)) return undefined;
    throw error;
  }
}

async function isDone(promise: Promise<unknown>, isRefusal: (error: unknown) => boolean): Promise<boolean> {
  try {
    await promise;
    return true;
  } catch (error) {
    if (isRefusal(error)) return false;
    throw error;
  }
}
