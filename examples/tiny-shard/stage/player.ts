import { setTimeout as delay } from 'node:timers/promises';
import { PeerGone } from '../ipc.js';
import type { Action, ActReply, LoginReply } from '../protocol.js';
import type { Random } from './random.js';
import type { ShardProcess } from './shard-process.js';

export interface Credentials {
  readonly sessionId: string;
  readonly sessionToken: string;
}

export interface Identity {
  readonly userId: string;
  readonly password: string;
  readonly ip: string;
}

/** How fast a player clicks. */
const THINK_MS = [20, 90] as const;

/** One simulated player: knows a session token and whichever shard it is connected to. */
export class Player {
  session: Credentials | undefined;
  /** Of all sessions so far, the present one last. */
  readonly tokens: string[] = [];
  /** After its shard died. */
  reconnects = 0;
  wrongProfiles = 0;

  constructor(
    readonly identity: Identity,
    private readonly random: Random,
    private shard: ShardProcess,
    /** The shards that are up, asked for anew after each loss. */
    private readonly liveShards: () => readonly ShardProcess[],
  ) {}

  get userId(): string {
    return this.identity.userId;
  }

  get connectedTo(): ShardProcess {
    return this.shard;
  }

  async login(password = this.identity.password): Promise<LoginReply> {
    const reply = await this.onAnyShard((shard) => shard.peer.ask('login', { ...this.identity, password }));
    if (reply.status === 'welcome') {
      this.session = reply;
      this.tokens.push(reply.sessionToken);
    }
    return reply;
  }

  /** Presents the present session, or a token that was kept from an earlier one. */
  act(action: Action, sessionToken = this.session?.sessionToken): Promise<ActReply> {
    if (sessionToken === undefined) throw new Error(`${this.userId} has never logged in`);
    return this.onAnyShard((shard) => shard.peer.ask('act', { sessionToken, action }));
  }

  trade(partner: string): Action {
    return { kind: 'trade', partner, picks: [this.random.below(1_000), this.random.below(1_000)] };
  }

  /** Does this and that until told to stop, or until this session is over or another took its place. */
  async play(others: readonly string[], stop: AbortSignal): Promise<void> {
    const session = this.session;
    while (!stop.aborted && this.session === session) {
      const reply = await this.act(this.choose(others));
      if (reply.status === 'session_over') return;
      if (reply.status === 'profile' && reply.profile.userId !== this.userId) this.wrongProfiles++;
      await delay(this.random.between(...THINK_MS));
    }
  }

  private choose(others: readonly string[]): Action {
    const dice = this.random.below(100);
    if (dice < 45) return this.trade(this.random.pick(others));
    if (dice < 70) return { kind: 'view_profile' };
    if (dice < 85) return { kind: 'chat', text: 'gg' };
    return { kind: 'move' };
  }

  /**
   * Asks the player's shard; when it dies before it answers, asks another the same. What the first one did is unknown,
   * and asking twice is what a player does: a trade more or less is no harm, as long as no item is lost or doubled.
   */
  private async onAnyShard<Reply>(ask: (shard: ShardProcess) => Promise<Reply>): Promise<Reply> {
    for (;;) {
      try {
        return await ask(this.shard);
      } catch (error) {
        if (!(error instanceof PeerGone)) throw error;
        const lost = this.shard;
        const next = this.liveShards().find((shard) => shard !== lost);
        if (next === undefined) throw error;
        this.shard = next;
        this.reconnects++;
      }
    }
  }
}
