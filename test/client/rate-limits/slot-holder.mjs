/** Run by itself, with an IPC channel: a process that holds a slot until it is killed. */

/** What is built may not be there yet when imports are checked. */
const { connect } = await import(new URL('../../../dist/client/index.js', import.meta.url).href);

const [, , address] = process.argv;
const { rateLimits } = connect(address, { logger: false, timeoutMs: 30_000 });

process.once('message', (limit) => {
  rateLimits.holdConcurrency(limit, { timeoutMs: 30_000 }).then(({ status }) => process.send(status));
});
process.send('ready');
