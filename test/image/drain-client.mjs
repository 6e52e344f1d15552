// Runs inside a container of the image: calls `shardkeep:50051`, which is two containers, until its input ends. Says
// `calling` when calls are answered, and at the end how many were, and what failed.

const { connect } = await import(process.env.CLIENT);

const client = connect('dns:///shardkeep:50051', { timeoutMs: 10_000 });
const failed = {};
let answered = 0;
let isEnding = false;
process.stdin.on('end', () => (isEnding = true)).resume();
process.stdin.on('data', () => undefined);

async function caller(number) {
  for (let i = 0; !isEnding; i++) {
    try {
      await client.cache.set(`k:${number}`, i, { ttlMs: 60_000 });
      if ((await client.cache.get(`k:${number}`)) !== i) throw new Error('another value');
      answered += 2;
    } catch (error) {
      failed[error.code ?? error.message] = (failed[error.code ?? error.message] ?? 0) + 1;
    }
    if (answered === 100) process.stdout.write('calling\n');
  }
}

await Promise.all(Array.from({ length: 8 }, (_, number) => caller(number)));
await client.close();
process.stdout.write(`${JSON.stringify({ answered, failed })}\n`);
