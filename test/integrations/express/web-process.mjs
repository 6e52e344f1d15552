import { createServer } from 'node:http';
import express from 'express';

/** Run by itself, with an IPC channel: a web process with a limiter. */

/** What is built may not be there yet when imports are checked. */
const { connect } = await import(new URL('../../../dist/client/index.js', import.meta.url).href);
const { createRateLimit } = await import(new URL('../../../dist/integrations/express/index.js', import.meta.url).href);

const [, , address, key] = process.argv;
const app = express();
app.use(
  createRateLimit({
    client: connect(address),
    windowMs: 600_000,
    maxRequests: 30,
    keyGenerator: () => key,
    timeoutMs: 30_000,
  }),
);
app.get('/', (_request, response) => response.send('in'));
const server = createServer(app).listen(0, '127.0.0.1', () => process.send(server.address().port));
