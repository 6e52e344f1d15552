import express, { type RequestHandler } from 'express';
import { Server } from 'socket.io';
import { connect } from '../../src/client/index.js';
import type { SessionEvents, SessionSocketData } from '../../src/integrations/socket.io/index.js';

/** What the blocks of docs/from-the-seeds.md find around them: the game that the guide was written for. */

export interface User {
  readonly name: string;
  readonly level: number;
}

export interface Character {
  readonly name: string;
}

export const shardkeep = connect(process.env.SHARDKEEP_ADDRESS ?? '', { timeoutMs: 30_000 });
export const app = express();

interface Emitted extends SessionEvents {
  welcome: (player: { readonly userId: string; readonly characterId: string | undefined }) => void;
}

export const io = new Server<Record<string, never>, Emitted, Record<string, never>, SessionSocketData>();

export const userData1: User = { name: 'John', level: 50 };
export const userData2: User = { name: 'Jane', level: 51 };
export const updatedCharacter: Character = { name: 'Thorin' };

/** What the game was asked to do, in order. */
export const done: string[] = [];

export const userRepository = {
  findById: (id: string): Promise<User | null> => {
    done.push(`load user ${id}`);
    return Promise.resolve(id === '404' ? null : userData1);
  },
};
export const characterRepository = {
  update: (id: string, { name }: Character): Promise<void> => {
    done.push(`update character ${id} ${name}`);
    return Promise.resolve();
  },
};
export const guildRepository = {
  findById: (id: string): Promise<{ guild: string }> => {
    done.push(`load guild ${id}`);
    return Promise.resolve({ guild: id });
  },
};

export function generateLeaderboard(type: string): Promise<string[]> {
  done.push(`generate ${type}`);
  return Promise.resolve([type, 'ada', 'bob']);
}

export function processCombatAction(userId: string): Promise<void> {
  done.push(`combat of ${userId}`);
  return Promise.resolve();
}

export function processTradeTransaction(
  from: string,
  to: string,
  { signal, fencingToken }: { readonly signal: AbortSignal; readonly fencingToken: number },
): Promise<void> {
  signal.throwIfAborted();
  if (!(fencingToken > 0)) throw new Error('a trade without a fencing token');
  done.push(`trade of ${from} and ${to}`);
  return Promise.resolve();
}

const handler =
  (what: string): RequestHandler =>
  (_request, response) => {
    done.push(what);
    response.json({ done: what });
  };
export const loginHandler = handler('login');
export const chatHandler = handler('chat');
export const combatHandler = handler('combat');
