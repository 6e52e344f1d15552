import { randomUUID } from 'node:crypto';
import { rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, jest, test } from '@jest/globals';
import express from 'express';
import { authRateLimit, createRateLimit } from '../../../src/integrations/express/index.js';
import { startRedis, until, type RedisServer } from '../../support/redis-server.js';
import { sharedRedisUrl, randomNamespace, startTestService } from '../../support/service.js';
import { killServiceProcesses, startServiceProcess } from '../../support/service-process.js';
import { someone } from '../../client/rate-limits/support.js';
import { listeningLogger, WebOfTest } from '../web-support.js';

/** What a limiter does while the service, or Redis, is away or says nothing. */

const web = new WebOfTest();
const redises: RedisServer[] = [];
const sockets: string[] = [];

afterEach(async () => {
  await killServiceProcesses();
  await Promise.all(redises.splice(0).map((redis) => redis.remove()));
  for (const path of sockets.splice(0)) rmSync(path, { force: true });
});

function socketPath(): string {
  const path = join(tmpdir(), `sk-${randomUUID().slice(0, 8)}.sock`);
  sockets.push(path);
  return path;
}

async function serve(address: string, timeoutMs: number) {
  // a limiter that took the client's timeout for its own would outlast the test
  const client = web.client(address, { timeoutMs: 600_000 });
  const logger = listeningLogger();
  const limits = { client, logger, timeoutMs, maxRequests: 1_000, keyGenerator: () => subject };
  const subject = someone();
  const app = express();
  const reached: string[] = [];
  app.get('/open', createRateLimit(limits), (_request, response) => {
    reached.push('open');
    response.send('in');
  });
  app.get('/closed', createRateLimit({ ...limits, failMode: 'closed' }), (_request, response) => {
    reached.push('closed');
    response.send('in');
  });
  app.get('/auth', authRateLimit(client, { logger, timeoutMs }), (_request, response) => {
    reached.push('auth');
    response.send('in');
  });
  const url = await web.serve(app);
  return { url, logger, reached };
}

test('a service that is killed: open passes, closed refuses, and both are healed by its successor', async () => {
  const env = {
    REDIS_URL: sharedRedisUrl('standalone'),
    GRPC_LISTEN: `unix:${socketPath()}`,
    NAMESPACE: randomNamespace(),
  };
  const first = await startServiceProcess(env);
  const { url, logger, reached } = await serve(env.GRPC_LISTEN, 5_000);
  for (const path of ['/open', '/closed', '/auth']) {
    const response = await fetch(`${url}${path}`);
    expect([response.status, response.headers.has('ratelimit')]).toEqual([200, true]);
  }
  await first.stop('SIGKILL');
  const open = await fetch(`${url}/open`);
  expect([open.status, open.headers.has('ratelimit')]).toEqual([200, false]);
  for (const path of ['/closed', '/auth']) {
    const refused = await fetch(`${url}${path}`);
    expect(refused.status).toBe(503);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    expect(await refused.json()).toHaveProperty('error');
  }
  expect(reached).toEqual(['open', 'closed', 'auth', 'open']);
  // one warning for each limiter, however many requests there are
  for (let n = 0; n < 5; n++) await fetch(`${url}/closed`);
  expect(logger.warnings).toHaveLength(3);

  await startServiceProcess(env);
  await until(async () => (await fetch(`${url}/closed`)).status === 200);
  await until(async () => (await fetch(`${url}/open`)).headers.has('ratelimit'));
});

test('a service that says nothing is waited for no longer than the limiter is told', async () => {
  const redis = await startRedis();
  redises.push(redis);
  const service = await startServiceProcess({ REDIS_URL: redis.url });
  const timeoutMs = 300;
  const { url } = await serve(service.address, timeoutMs);
  await until(async () => (await fetch(`${url}/open`)).headers.has('ratelimit'));
  service.signal('SIGSTOP');
  const startedAt = performance.now();
  const [open, closed] = await Promise.all([fetch(`${url}/open`), fetch(`${url}/closed`)]);
  expect([open.status, closed.status]).toEqual([200, 503]);
  // it did wait: a service that is slow is not one that is away
  const waitedMs = performance.now() - startedAt;
  expect(waitedMs).toBeGreaterThanOrEqual(timeoutMs);
  // and keepalive, which notices such a service after 10 s at the earliest, is not what ended the wait
  expect(waitedMs).toBeLessThan(10_000);
  service.signal('SIGCONT');
  await until(async () => (await fetch(`${url}/closed`)).status === 200);
});

test('while Redis is away the policy decides: what it denies is no 429, as nobody did too much', async () => {
  const redis = await startRedis();
  redises.push(redis);
  const service = await startTestService({ REDIS_URL: redis.url });
  web.closeLater(() => service.stop());
  const { url, reached } = await serve(service.address, 5_000);
  expect((await fetch(`${url}/auth`)).status).toBe(200);
  await redis.stop('SIGKILL');
  const refused = await fetch(`${url}/auth`);
  expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '1']);
  expect((await fetch(`${url}/open`)).status).toBe(200);
  expect(reached).toEqual(['auth', 'open']);
  await redis.restart();
  await until(async () => (await fetch(`${url}/auth`)).status === 200);
});

test('a policy that the service does not have is told of by its name', async () => {
  const service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
  web.closeLater(() => service.stop());
  const client = web.client(service.address);
  const logger = listeningLogger();
  const app = express();
  app.get('/misspelt', createRateLimit({ client, logger, policy: 'chatt' }), (_request, response) =>
    response.send('in'),
  );
  app.get('/wrong', createRateLimit({ client, logger, policy: 'chat', cost: () => 65 }), (_request, response) =>
    response.send('in'),
  );
  const failed: express.ErrorRequestHandler = (error, _request, response, next) => {
    if (response.headersSent) next(error);
    else response.sendStatus(500);
  };
  app.use(failed);
  const url = await web.serve(app);
  for (const path of ['misspelt', 'misspelt', 'wrong']) expect((await fetch(`${url}/${path}`)).status).toBe(500);
  expect(logger.warnings).toEqual([expect.stringContaining('"chatt"')]);
});

test('logger: false is silent', async () => {
  const app = express();
  const client = web.client(`unix:${socketPath()}`);
  app.get('/', createRateLimit({ client, maxRequests: 1, logger: false }), (_request, response) => response.send('in'));
  const emitWarning = jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
  expect((await fetch(await web.serve(app))).status).toBe(200);
  expect(emitWarning).not.toHaveBeenCalled();
  emitWarning.mockRestore();
});

test('who gave no logger is warned by the process', async () => {
  const app = express();
  const client = web.client(`unix:${socketPath()}`);
  app.get('/', createRateLimit({ client, maxRequests: 1 }), (_request, response) => response.send('in'));
  const emitWarning = jest.spyOn(process, 'emitWarning').mockImplementation(() => undefined);
  const url = await web.serve(app);
  for (let count = 0; count < 3; count++) expect((await fetch(url)).status).toBe(200);
  expect(emitWarning).toHaveBeenCalledTimes(1);
  expect(emitWarning).toHaveBeenCalledWith(expect.any(String), expect.objectContaining({ type: 'ShardkeepWarning' }));
  emitWarning.mockRestore();
});
