/** Run by itself, with an IPC channel: a game server that holds a lock by withLock, and writes under it when it is told to. */

/** What is built may not be there yet when imports are checked. */
const { connect } = await import(new URL('../../../dist/client/index.js', import.meta.url).href);

const [, , address, resource, leaseMs] = process.argv;
const { locks, cache } = connect(address, { logger: false, timeoutMs: 30_000 });

const told = () => new Promise((resolve) => process.once('message', resolve));

const ended = locks.withLock(resource, { leaseMs: Number(leaseMs) }, async (lock) => {
  process.send({ held: lock.fencingToken });
  // the message may be waiting before any timer fires, when the process stood still meanwhile
  await told();
  const wasAborted = lock.signal.aborted;
  const guard = lock.grants[0];
  const write = await cache.set(resource, 'of the old holder', { ttlMs: 60_000, guard }).then(
    () => 'written',
    ({ reason }) => reason,
  );
  process.send({ wasAborted, write });
  return 'worthless';
});
await ended.catch(({ name, loss }) => process.send({ name, loss }));
