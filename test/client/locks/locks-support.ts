import { afterEach } from '@jest/globals';
import { connect, type ConnectOptions, type ShardkeepClient } from '../../../src/client/index.js';
import { until } from '../../support/redis-server.js';

const cleanups: (() => Promise<void>)[] = [];

/** Done after the test, what was said last first. */
export function afterwards(cleanup: () => Promise<void>): void {
  cleanups.push(cleanup);
}

afterEach(async () => {
  for (let cleanup = cleanups.pop(); cleanup !== undefined; cleanup = cleanups.pop()) await cleanup();
});

/** A client that is closed after the test. */
export function client(address: string, options: ConnectOptions = {}): ShardkeepClient {
  // no deadline of these tests is about how fast this machine is
  const connected = connect(address, { timeoutMs: 30_000, logger: false, ...options });
  afterwards(() => connected.close());
  return connected;
}

let names = 0;

/** A resource that no other test of the file uses. */
export function newName(): string {
  return `resource-${String(++names)}`;
}

export function untilWaiting({ locks }: ShardkeepClient, resource: string, count = 1): Promise<void> {
  return until(async () => (await locks.getLock(resource)).waitingCount === count);
}

export function untilFree({ locks }: ShardkeepClient, resource: string): Promise<void> {
  return until(async () => (await locks.getLock(resource)).holderCount === 0);
}

/** Something that a test decides when to go on with. */
export interface Gate {
  readonly opened: Promise<void>;
  readonly open: () => void;
}

export function gate(): Gate {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

/** Resolves when the signal aborts, with its reason. */
export function aborted(signal: AbortSignal): Promise<unknown> {
  return new Promise((resolve) => {
    const done = (): void => {
      resolve(signal.reason);
    };
    if (signal.aborted) done();
    else signal.addEventListener('abort', done, { once: true });
  });
}
