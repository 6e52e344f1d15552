import { createServer, type Server } from 'node:http';
import { afterEach } from '@jest/globals';
import express, { type Express } from 'express';
import { sessionRoutes } from '../../../src/integrations/express/index.js';
import type { ShardkeepClient } from '../../../src/client/index.js';
import { portOf } from '../../support/tcp-proxy.js';

/** Apps of a test, and players who log in. */

const servers: Server[] = [];

afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

export async function listen(app: Express): Promise<string> {
  // what Express says of an error is not for the terminal of a test
  app.set('env', 'test');
  const server = createServer(app as never);
  servers.push(server);
  return `http://127.0.0.1:${String(await portOf(server))}`;
}

export async function login(
  client: ShardkeepClient,
  userId: string,
  profile = '',
): Promise<{ id: string; token: string }> {
  const result = await client.sessions.createSession({ userId, profile, client: { ip: '127.0.0.1' } });
  if (result.status !== 'created') throw new Error(result.status);
  return { id: result.session.sessionId, token: result.sessionToken };
}

export const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });

export async function codeOf(answer: Response): Promise<unknown> {
  return ((await answer.json()) as { error: { code: string } }).error.code;
}

/** Whoever a header says: what authenticates is not what is tested. */
export async function api(
  client: ShardkeepClient,
): Promise<(user: string, method: string, path: string, body?: unknown) => Promise<Response>> {
  const app = express();
  const authenticate = (request: express.Request) => {
    const userId = request.get('x-user');
    return userId === undefined || userId === '' ? undefined : { userId, username: 'Ada', roles: ['player'] };
  };
  app.use('/api/v1/sessions', sessionRoutes({ client, authenticate }));
  const url = `${await listen(app)}/api/v1/sessions`;
  return (user, method, path, body) =>
    fetch(`${url}${path}`, {
      method,
      headers: {
        'x-user': user,
        'user-agent': 'Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X)',
        'content-type': 'application/json',
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
}
