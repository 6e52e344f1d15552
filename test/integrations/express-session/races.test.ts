import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { connect, type ShardkeepClient } from '../../../src/client/index.js';
import { ShardkeepStore } from '../../../src/integrations/express-session/index.js';
import { onEachTopology } from '../../support/service.js';
import { Browser, startWebApp, type WebApp } from './web-app.js';

/** Requests of one browser that do different things to its session at once, on two servers. */

const LOGGED_OUT = { status: 200, body: {} };
const ROUNDS = 15;

onEachTopology('at once', (service) => {
  const clients: ShardkeepClient[] = [];
  let apps: readonly [WebApp, WebApp];
  beforeEach(async () => {
    const open = async (): Promise<WebApp> => {
      const client = connect(service().address, { timeoutMs: 30_000 });
      clients.push(client);
      return startWebApp(new ShardkeepStore({ sessions: client.sessions }), { maxAge: 60_000 });
    };
    apps = [await open(), await open()];
  });
  afterEach(async () => {
    await Promise.all(clients.splice(0).map((client) => client.close()));
  });

  async function loggedIn(): Promise<Browser> {
    const browser = new Browser(apps[0]);
    await browser.get('/login/ada');
    return browser;
  }

  /** So many tabs of a browser, each with the cookie as it is now, on both servers. */
  const tabsOf = (browser: Browser, count: number): Browser[] =>
    Array.from({ length: count }, (_, index) => browser.at(apps[index % 2 === 0 ? 0 : 1]));

  test('whatever is written, touched and read beside a logout, nobody is logged in behind it', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const browser = await loggedIn();
      const tabs = tabsOf(browser, 9);
      const pages = ['/count', '/me', '/count', '/me', '/logout', '/count', '/me', '/count', '/logout'];
      const answers = await Promise.all(tabs.map((tab, index) => tab.get(pages[index] ?? '')));
      expect(answers.map(({ status }) => status)).toEqual(pages.map(() => 200));
      for (const tab of tabsOf(browser, 2)) expect(await tab.get('/me')).toEqual(LOGGED_OUT);
    }
  });

  test('of logins over one session each has one of its own, and the old one opens nothing', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const browser = await loggedIn();
      const tabs = tabsOf(browser, 4);
      await Promise.all([
        tabs[0]?.get('/login/bob'),
        tabs[1]?.get('/login/eve'),
        tabs[2]?.get('/count'),
        tabs[3]?.get('/me'),
      ]);
      expect(tabs[0]?.sid).not.toBe(tabs[1]?.sid);
      expect((await tabs[0]?.get('/me'))?.body).toEqual({ user: 'bob', views: 0 });
      expect((await tabs[1]?.get('/me'))?.body).toEqual({ user: 'eve', views: 0 });
      for (const tab of tabsOf(browser, 2)) expect(await tab.get('/me')).toEqual(LOGGED_OUT);
    }
  });
});
