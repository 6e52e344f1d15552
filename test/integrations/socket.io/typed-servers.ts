import { Server } from 'socket.io';
import type { ShardkeepClient } from '../../../src/client/index.js';
import {
  shardkeepSessions,
  type SessionEvents,
  type SessionSocketData,
} from '../../../src/integrations/socket.io/index.js';

interface In {
  say: (text: string) => void;
}
interface Out {
  said: (text: string) => void;
}
interface Data extends SessionSocketData {
  name: string;
}
type Nothing = Record<string, never>;

/** What the compiler lets pass of servers with typed events, and what it does not; never called. */
export function typedServers(client: ShardkeepClient): void {
  const plain = new Server();
  shardkeepSessions(plain, { client });
  shardkeepSessions(plain.of('/x'), { client, tokenFrom: (socket) => String(socket.handshake.query.token) });
  shardkeepSessions(plain.of(/^\/shard-/), { client });

  const typed = new Server<In, Out & SessionEvents, Nothing, Data>();
  shardkeepSessions([typed, typed.of('/x')], {
    client,
    onEnded: (socket, { cause }) => {
      socket.emit('said', `${socket.data.name} of ${socket.data.session.userId}: ${cause}`);
    },
  });
  shardkeepSessions(new Server<In, Out & SessionEvents>(), { client });

  // @ts-expect-error its sockets may not be told
  shardkeepSessions(new Server<In, Out>(), { client });
  // @ts-expect-error its data has another session
  shardkeepSessions(new Server<In, Out & SessionEvents, Nothing, { session: string }>(), { client });
}
