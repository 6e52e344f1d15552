/**
 * Loaded into a service with `--expose-gc --import`: on SIGUSR2 it collects garbage and logs what is left in bytes. What a
 * process holds of the system's memory moves with V8's idea of how large its heap should be; what is live does not.
 */
process.on('SIGUSR2', () => {
  globalThis.gc();
  const { heapUsed, external } = process.memoryUsage();
  process.stdout.write(`${JSON.stringify({ msg: 'live memory', bytes: heapUsed + external })}\n`);
});
