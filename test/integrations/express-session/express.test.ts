import { createHash } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { connect, type ShardkeepClient } from '../../../src/client/index.js';
import { ShardkeepStore } from '../../../src/integrations/express-session/index.js';
import { freePort, until } from '../../support/redis-server.js';
import { killServiceProcesses, startServiceProcess } from '../../support/service-process.js';
import { randomNamespace, sharedRedisUrl, startTestService, type TestService } from '../../support/service.js';
import { Browser, startWebApp } from './web-app.js';

/** Express with express-session, through real HTTP, on sessions of the service. */

const HOUR_MS = 3_600_000;
const LOGGED_OUT = { status: 200, body: {} };

describe('an Express app', () => {
  let service: TestService;
  let shardkeep: ShardkeepClient;
  let store: ShardkeepStore;
  beforeAll(async () => {
    service = await startTestService({ REDIS_URL: sharedRedisUrl('standalone') });
    shardkeep = connect(service.address, { timeoutMs: 30_000 });
    store = new ShardkeepStore({ sessions: shardkeep.sessions });
  });
  afterAll(async () => {
    await shardkeep.close();
    await service.stop();
  });

  test('counts for each who is logged in, on whichever server', async () => {
    const [app, other] = [await startWebApp(store, { maxAge: HOUR_MS }), await startWebApp(store, { maxAge: HOUR_MS })];
    const [ada, bob, nobody] = [new Browser(app), new Browser(app), new Browser(app)];
    await ada.get('/login/ada');
    await bob.get('/login/bob');
    for (const views of [1, 2, 3]) expect((await ada.get('/count')).body).toEqual({ user: 'ada', views });
    expect((await bob.get('/count')).body).toEqual({ user: 'bob', views: 1 });
    expect((await ada.at(other).get('/count')).body).toEqual({ user: 'ada', views: 4 });
    expect((await ada.get('/me')).body).toEqual({ user: 'ada', views: 4 });
    expect(await nobody.get('/me')).toEqual(LOGGED_OUT);
    expect(nobody.cookie).toBeUndefined();
  });

  test('a login takes a new sid, and the old one opens nothing', async () => {
    const app = await startWebApp(store, { maxAge: HOUR_MS });
    const browser = new Browser(app);
    await browser.get('/login/guest');
    const before = browser.at(app);
    await browser.get('/login/ada');
    expect(browser.sid).not.toBe(before.sid);
    expect((await browser.get('/me')).body).toMatchObject({ user: 'ada' });
    expect(await before.get('/me')).toEqual(LOGGED_OUT);
  });

  test('a logout ends the session, also on another server', async () => {
    const app = await startWebApp(store, {});
    const browser = new Browser(app);
    await browser.get('/login/ada');
    const elsewhere = browser.at(await startWebApp(store, {}));
    expect((await elsewhere.get('/me')).body).toMatchObject({ user: 'ada' });
    await browser.get('/logout');
    expect(await elsewhere.get('/me')).toEqual(LOGGED_OUT);
    expect(await browser.get('/me')).toEqual(LOGGED_OUT);
  });

  test('a request that ends after the logout brings no session back', async () => {
    const app = await startWebApp(store, { maxAge: HOUR_MS });
    const browser = new Browser(app);
    await browser.get('/login/ada');
    const { arrived, release } = app.holdSlow();
    const slow = browser.at(app).get('/slow');
    await arrived;
    await browser.at(app).get('/logout');
    release();
    // it has what it read, and its change is lost with the session
    expect((await slow).body).toEqual({ user: 'ada', views: 1 });
    expect(await browser.get('/me')).toEqual(LOGGED_OUT);
  });

  test('of requests at once the one that ends last has its way', async () => {
    const app = await startWebApp(store, { maxAge: HOUR_MS });
    const browser = new Browser(app);
    await browser.get('/login/ada');
    const { arrived, release } = app.holdSlow();
    const slow = browser.at(app).get('/slow');
    await arrived;
    for (let views = 1; views <= 5; views++) await browser.get('/count');
    release();
    await slow;
    expect((await browser.get('/me')).body).toEqual({ user: 'ada', views: 1 });
  });

  test('every page keeps the session longer, though nothing in it changes', async () => {
    const app = await startWebApp(store, { maxAge: 20_000 });
    const browser = new Browser(app);
    await browser.get('/login/ada');
    const userId = `express:${createHash('sha256').update(browser.sid).digest('base64url')}`;
    const kept = async () => (await shardkeep.sessions.listUserSessions(userId)).sessions[0];
    const first = await kept();
    await until(async () => {
      await browser.get('/me');
      return Number((await kept())?.metadata.until) > Number(first?.metadata.until);
    });
    const later = await kept();
    expect(later?.sessionId).toBe(first?.sessionId);
    expect(later?.expiresAtMs).toBeGreaterThan(first?.expiresAtMs ?? Infinity);
    expect((await browser.get('/me')).body).toEqual({ user: 'ada', views: 0 });
  });

  test('a session that the service ends is logged out', async () => {
    const app = await startWebApp(store, { maxAge: HOUR_MS });
    const browser = new Browser(app);
    await browser.get('/login/ada');
    for await (const { done } of shardkeep.sessions.destroyAllSessions({ reason: 'leak' })) if (done) break;
    expect(await browser.get('/me')).toEqual(LOGGED_OUT);
    await browser.get('/login/ada');
    expect((await browser.get('/me')).body).toMatchObject({ user: 'ada' });
  });
});

describe('an Express app whose service is killed', () => {
  let shardkeep: ShardkeepClient;
  afterEach(async () => {
    await shardkeep.close();
    await killServiceProcesses();
  });

  test('logs nobody out, and goes on when the service is back', async () => {
    const env = {
      REDIS_URL: sharedRedisUrl('standalone'),
      NAMESPACE: randomNamespace(),
      GRPC_LISTEN: `127.0.0.1:${String(await freePort())}`,
    };
    const service = await startServiceProcess(env);
    shardkeep = connect(service.address, { timeoutMs: 10_000 });
    const app = await startWebApp(new ShardkeepStore({ sessions: shardkeep.sessions }), { maxAge: HOUR_MS });
    const browser = new Browser(app);
    await browser.get('/login/ada');
    await browser.get('/count');
    const { cookie } = browser;
    await service.stop('SIGKILL');
    expect((await browser.get('/count')).status).toBe(500);
    expect(browser.cookie).toBe(cookie);
    await startServiceProcess(env);
    await until(async () => (await browser.get('/me')).status === 200);
    expect((await browser.get('/count')).body).toEqual({ user: 'ada', views: 2 });
    expect(browser.cookie).toBe(cookie);
  });
});
