import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import express from 'express';
import session, { MemoryStore, type SessionData, type Store } from 'express-session';
import { connect } from 'shardkeep/client';
import { ShardkeepStore, type ShardkeepStoreOptions } from 'shardkeep/express-session';

declare module 'express-session' {
  interface SessionData {
    visits?: number;
  }
}

/** Takes over, one request at a time, the sessions that another store has. */
class MovingStore extends ShardkeepStore {
  constructor(
    options: ShardkeepStoreOptions,
    private readonly old: Store,
  ) {
    super(options);
  }

  override get(sid: string, callback: (error: unknown, session?: SessionData | null) => void): void {
    super.get(sid, (error, found) => {
      if (error !== null || found) callback(error, found);
      else this.move(sid, callback);
    });
  }

  /** Who logs out while the session is still in the old store must not come back from there. */
  override destroy(sid: string, callback?: (error?: unknown) => void): void {
    this.old.destroy(sid, () => {
      super.destroy(sid, callback);
    });
  }

  private move(sid: string, callback: (error: unknown, session?: SessionData | null) => void): void {
    this.old.get(sid, (error: unknown, found) => {
      if (!found) {
        callback(error, null);
        return;
      }
      super.set(sid, found, (failure) => {
        if (failure) callback(failure);
        else
          this.old.destroy(sid, () => {
            super.get(sid, callback);
          });
      });
    });
  }
}

// connect-redis's RedisStore, in your application
const old = new MemoryStore();
const shardkeep = connect(process.argv[2] ?? '127.0.0.1:50051');

async function visit(store: Store, cookie = ''): Promise<{ text: string; cookie: string }> {
  const app = express();
  app.use(session({ store, secret: 'a secret of your own', resave: false, saveUninitialized: false }));
  app.get('/', (request, response) => {
    request.session.visits = (request.session.visits ?? 0) + 1;
    response.send(`visit ${String(request.session.visits)}`);
  });
  const server = app.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
  const response = await fetch(url, { headers: { cookie } });
  const text = await response.text();
  server.closeAllConnections();
  server.close();
  return { text, cookie: response.headers.get('set-cookie')?.split(';')[0] ?? cookie };
}

const before = await visit(old);
console.log(`in the old store: ${before.text}`);
const moved = await visit(new MovingStore({ sessions: shardkeep.sessions }, old), before.cookie);
console.log(`moved: ${moved.text}`);
const after = await visit(new ShardkeepStore({ sessions: shardkeep.sessions }), before.cookie);
console.log(`without the old store: ${after.text}`);
await shardkeep.close();
