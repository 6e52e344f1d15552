import { once } from 'node:events';
import { createServer } from 'node:http';
import { afterEach } from '@jest/globals';
import { Server, type ServerOptions, type Socket } from 'socket.io';
import {
  io as connectSocket,
  type ManagerOptions,
  type Socket as ClientSocket,
  type SocketOptions,
} from 'socket.io-client';
import type { Sessions, ShardkeepClient } from '../../../src/client/index.js';
import {
  shardkeepSessions,
  type InstalledSessions,
  type RefusalData,
  type SessionEvents,
  type SessionEndNotice,
  type SessionSocketData,
  type ShardkeepSessionsOptions,
} from '../../../src/integrations/socket.io/index.js';
import { until } from '../../support/redis-server.js';

interface PlayerEvents {
  act: (done: () => void) => void;
}
interface GameEvents extends SessionEvents {
  news: (text: string) => void;
}
type Nothing = Record<string, never>;
export type GameSocket = Socket<PlayerEvents, GameEvents, Nothing, SessionSocketData>;
export type GameServer = Server<PlayerEvents, GameEvents, Nothing, SessionSocketData>;
export type GameOptions = Partial<ShardkeepSessionsOptions<GameSocket>>;

/** A game server with sessions. */
export interface Game {
  readonly io: GameServer;
  readonly installed: InstalledSessions;
  readonly url: string;
  close(): Promise<void>;
}

const games: Game[] = [];
const players: Player[] = [];

afterEach(async () => {
  for (const player of players.splice(0)) player.socket.disconnect();
  await Promise.all(games.splice(0).map((game) => game.close()));
});

/** Ended after the test. */
export async function startGame(
  client: Pick<ShardkeepClient, 'sessions'>,
  options: GameOptions = {},
  serverOptions: Partial<ServerOptions> = {},
): Promise<Game> {
  const http = createServer();
  const io: GameServer = new Server(http, serverOptions);
  const installed = shardkeepSessions(io, { client, handshakeTimeoutMs: 30_000, logger: false, ...options });
  io.on('connection', (socket) => {
    socket.on('act', (done) => {
      done();
    });
  });
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  const address = http.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  const game: Game = {
    io,
    installed,
    url: `http://127.0.0.1:${String(address.port)}`,
    close: async () => {
      installed.close();
      await io.close();
    },
  };
  games.push(game);
  return game;
}

type Outcome = 'connected' | RefusalData;

/** A player's connection, and what it was told. */
export class Player {
  readonly told: unknown[] = [];
  readonly outcome: Promise<Outcome>;
  /** Why the connection is gone. */
  readonly disconnected: Promise<string>;
  readonly socket: ClientSocket<GameEvents, PlayerEvents>;

  constructor(url: string, sessionToken: string | undefined, options: Partial<ManagerOptions & SocketOptions> = {}) {
    const settings = { transports: ['websocket'], reconnection: false, forceNew: true, timeout: 60_000 };
    this.socket = connectSocket(url, { ...settings, auth: { sessionToken }, ...options });
    players.push(this);
    this.outcome = new Promise((resolve, reject) => {
      this.socket.once('connect', () => {
        resolve('connected');
      });
      this.socket.once('connect_error', (error: Error & { data?: RefusalData }) => {
        if (error.data === undefined) reject(error);
        else resolve(error.data);
      });
    });
    this.outcome.catch(() => undefined);
    this.disconnected = new Promise((resolve) => {
      this.socket.once('disconnect', resolve);
    });
    this.socket.onAny((event: string, told: unknown) => {
      this.told.push([event, told]);
    });
  }

  /** Does something, which the server has seen when this resolves. */
  async act(): Promise<void> {
    await this.socket.emitWithAck('act');
  }

  async untilTold(event: keyof GameEvents): Promise<unknown> {
    const find = (): unknown => this.told.find((each) => Array.isArray(each) && each[0] === event);
    await until(() => find() !== undefined);
    return (find() as [string, unknown])[1];
  }
}

/** A player who gets in. */
export async function join(
  game: Game,
  sessionToken: string,
  options: Partial<ManagerOptions & SocketOptions> = {},
): Promise<Player> {
  const player = new Player(game.url, sessionToken, options);
  const outcome = await player.outcome;
  if (outcome !== 'connected') throw new Error(`refused: ${outcome.code}`);
  return player;
}

/** What a player whose session has ended was told last. */
export async function untilKicked(player: Player): Promise<SessionEndNotice> {
  const reason = await player.disconnected;
  if (reason !== 'io server disconnect') throw new Error(`not kicked: ${reason}`);
  return (await player.untilTold('session:ended')) as SessionEndNotice;
}

/** Something that waits for the test. */
export class Gate {
  open: () => void = () => undefined;
  readonly opened = new Promise<void>((resolve) => {
    this.open = resolve;
  });
}

/** A client whose sessions answer some calls in another way. */
export function overriding(
  { sessions }: Pick<ShardkeepClient, 'sessions'>,
  methods: Partial<Sessions>,
): Pick<ShardkeepClient, 'sessions'> {
  const get = (_: Sessions, name: keyof Sessions): unknown => methods[name] ?? sessions[name].bind(sessions);
  return { sessions: new Proxy(sessions, { get }) };
}

export const NOBODY = { handshakes: 0, sockets: 0, sessions: 0, users: 0 };
