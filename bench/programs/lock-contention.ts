import { performance } from 'node:perf_hooks';
import { createClient } from 'redis';
import Redlock from 'redlock';
import { connectService } from './service-client.js';
import type { ContentionPlan, ContentionReport } from './protocol.js';

/**
 * Contenders for one lock: all ask at once, and each that gets it holds it for a while. argv[2] is its ContentionPlan; each
 * message begins another round.
 */

/** Above what a round takes. */
const TTL_MS = 30_000;
const WAIT_MS = 10_000n;

/** Takes the lock, however long that takes, and answers how to give it back. */
type Take = (resource: string) => Promise<() => Promise<unknown>>;

const plan = JSON.parse(process.argv[2] ?? '') as ContentionPlan;
const take = plan.target === 'service' ? takeFromService(plan.address) : await takeByRedlock(plan.address);
let round = 0;

process.on('message', () => {
  void contend(`contended-${round++}`).then((report) => process.send?.(report));
});
process.on('disconnect', () => {
  process.exit(0);
});
process.send?.({ kind: 'ready' } satisfies ContentionReport);

async function contend(resource: string): Promise<ContentionReport> {
  const order: number[] = [];
  const handOffsMs: number[] = [];
  let releasedAt: number | undefined;
  const startedAt = performance.now();
  const contenders = Array.from({ length: plan.contenders }, async (_, index) => {
    const release = await take(resource);
    const takenAt = performance.now();
    if (releasedAt !== undefined) handOffsMs.push(takenAt - releasedAt);
    order.push(index);
    await new Promise((resolve) => setTimeout(resolve, plan.holdMs));
    releasedAt = performance.now();
    await release();
  });
  await Promise.all(contenders);
  const totalMs = performance.now() - startedAt;
  const isInOrder = order.every((contender, position) => contender === position);
  return { kind: 'contended', totalMs, isInOrder, handOffsMs };
}

function takeFromService(address: string): Take {
  const { locks } = connectService(address, 'service-pipeline');
  return async (resource) => {
    const resources = [resource];
    const { lockToken } = await locks.acquireLock({ resources, ttlMs: BigInt(TTL_MS), waitMs: WAIT_MS });
    if (lockToken === '') throw new Error('not granted in time');
    return () => locks.releaseLock({ resources, lockToken });
  };
}

/** With its own settings, but for the tries: it would give up after ten. */
async function takeByRedlock(address: string): Promise<Take> {
  const client = createClient({ url: address });
  await client
    .on('error', (error: Error) => {
      throw error;
    })
    .connect();
  const send = (command: string, source: string, keyCount: number, args: readonly (string | number)[]) =>
    client.sendCommand([command, source, String(keyCount), ...args.map(String)]);
  const redlock = new Redlock(
    [
      {
        evalsha: (sha1, keyCount, args) => send('EVALSHA', sha1, keyCount, args),
        eval: (script, keyCount, args) => send('EVAL', script, keyCount, args),
      },
    ],
    { retryCount: -1 },
  ).on('error', () => undefined);
  return async (resource) => {
    const lock = await redlock.acquire([resource], TTL_MS);
    return () => lock.release();
  };
}
