import { once } from 'node:events';
import type { Server } from 'node:http';
import { afterEach } from '@jest/globals';
import express, { type RequestHandler } from 'express';
import session, { type CookieOptions, type Store } from 'express-session';

declare module 'express-session' {
  interface SessionData {
    user?: string;
    views?: number;
  }
}

/** An Express app with a login, as people write it. */
export interface WebApp {
  readonly url: string;
  /** The next request for /slow waits in the app; answers what lets it go on. */
  holdSlow(): { readonly arrived: Promise<void>; readonly release: () => void };
}

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

export async function startWebApp(store: Store, cookie: CookieOptions): Promise<WebApp> {
  const app = express();
  let slow: RequestHandler = (_request, _response, next) => {
    next();
  };
  app.use(session({ store, cookie, secret: 'only for tests', resave: false, saveUninitialized: false }));
  app.get('/login/:user', (request, response, next) => {
    request.session.regenerate((error) => {
      if (error) {
        next(error);
        return;
      }
      request.session.user = request.params.user;
      request.session.views = 0;
      response.json({});
    });
  });
  app.get('/me', ({ session: { user, views } }, response) => {
    response.json({ user, views });
  });
  const count: RequestHandler = (request, response) => {
    request.session.views = (request.session.views ?? 0) + 1;
    response.json({ user: request.session.user, views: request.session.views });
  };
  app.get('/count', count);
  app.get('/slow', (request, response, next) => slow(request, response, next), count);
  app.get('/logout', (request, response, next) => {
    request.session.destroy((error) => {
      if (error) next(error);
      else response.json({});
    });
  });
  const server = app.listen(0, '127.0.0.1');
  servers.push(server);
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return {
    url: `http://127.0.0.1:${String(address.port)}`,
    holdSlow: () => {
      let release = (): void => undefined;
      const released = new Promise<void>((resolve) => {
        release = resolve;
      });
      const arrived = new Promise<void>((resolve) => {
        slow = (_request, _response, next) => {
          resolve();
          void released.then(() => {
            next();
          });
        };
      });
      return { arrived, release };
    },
  };
}

/** Keeps one cookie, as a browser does. */
export class Browser {
  cookie: string | undefined;

  constructor(private readonly app: WebApp) {}

  /** Answers status and body of a page. */
  async get(path: string): Promise<{ readonly status: number; readonly body: unknown }> {
    const response = await fetch(this.app.url + path, {
      headers: this.cookie === undefined ? {} : { cookie: this.cookie },
    });
    const [set] = response.headers.getSetCookie();
    if (set !== undefined) this.cookie = set.split(';')[0];
    const text = await response.text();
    return { status: response.status, body: text.startsWith('{') ? JSON.parse(text) : text };
  }

  /** The sid that the cookie carries, signed. */
  get sid(): string {
    return (
      decodeURIComponent(this.cookie?.split('=')[1] ?? '')
        .slice('s:'.length)
        .split('.')[0] ?? ''
    );
  }

  /** The same cookie at another server of the app. */
  at(app: WebApp): Browser {
    const browser = new Browser(app);
    browser.cookie = this.cookie;
    return browser;
  }
}
