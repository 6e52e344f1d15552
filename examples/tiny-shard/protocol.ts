import type { Evidence } from './stage/evidence.js';

/** What the processes of this example say to each other. */

/** What a player asks a shard for. */
export interface ShardContract {
  readonly login: { readonly ask: LoginRequest; readonly answer: LoginReply };
  readonly act: { readonly ask: ActRequest; readonly answer: ActReply };
  /** A game master's order, so without a player's session. */
  readonly ban: { readonly ask: BanRequest; readonly answer: BanReply };
}

/** What a shard asks the main process for: the database, and two things that only exist for the demonstration. */
export interface HostContract {
  readonly checkPassword: { readonly ask: { userId: string; password: string }; readonly answer: boolean };
  readonly loadProfile: { readonly ask: string; readonly answer: Profile };
  readonly openForUpdate: { readonly ask: readonly FencedRow[]; readonly answer: OpenReply };
  readonly write: { readonly ask: TradeWrite; readonly answer: WriteReply };
  /** Before each write: a shard waits for the answer, so that it can be killed or stopped exactly there. */
  readonly aboutToWrite: { readonly ask: TradeWrite; readonly answer: undefined };
  /** What the checks at the end judge by. */
  readonly report: { readonly ask: Evidence; readonly answer: undefined };
}

export interface Profile {
  readonly userId: string;
  readonly level: number;
  readonly motto: string;
}

/** An inventory, and the fencing token of the lock under which it is touched. */
export interface FencedRow {
  readonly userId: string;
  readonly fencingToken: number;
}

export type OpenReply =
  | { readonly status: 'open'; /** In the order asked. */ readonly inventories: readonly (readonly string[])[] }
  | { readonly status: 'stale' };

/** Both inventories as they shall be, whole: what a game that keeps a row per inventory writes. */
export interface TradeWrite {
  readonly tradeId: string;
  readonly shard: string;
  readonly rows: readonly (FencedRow & { readonly items: readonly string[] })[];
}

export type WriteReply = 'written' | 'stale';

export interface LoginRequest {
  readonly userId: string;
  readonly password: string;
  readonly ip: string;
}

export type LoginReply =
  | { readonly status: 'welcome'; readonly sessionId: string; readonly sessionToken: string }
  | { readonly status: 'too_many_attempts'; readonly retryAfterMs: number }
  | { readonly status: 'wrong_password' | 'blocked' | 'try_again' };

export interface ActRequest {
  readonly sessionToken: string;
  readonly action: Action;
}

export type Action =
  | { readonly kind: 'move' }
  | { readonly kind: 'view_profile' }
  | { readonly kind: 'chat'; readonly text: string }
  | {
      readonly kind: 'trade';
      readonly partner: string;
      /** Which items: any whole numbers. */ readonly picks: readonly [number, number];
    }
  | { readonly kind: 'logout' };

export type ActReply =
  | { readonly status: 'done' }
  | { readonly status: 'profile'; readonly profile: Profile }
  /** The message was dropped. */
  | { readonly status: 'too_fast'; readonly retryAfterMs: number }
  | { readonly status: 'traded' }
  | { readonly status: 'not_traded'; readonly why: 'busy' | 'stale' | 'empty_handed' }
  | { readonly status: 'session_over'; readonly reason: string }
  /** shardkeep could not be asked; nothing is known, and nothing was pretended. */
  | { readonly status: 'try_again' };

export interface BanRequest {
  readonly userId: string;
  readonly reason: string;
  readonly blockForMs: number;
}

export interface BanReply {
  readonly destroyedCount: number;
}
