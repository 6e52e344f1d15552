import { connect, ShardkeepError } from 'shardkeep/client';
import { Peer } from './ipc.js';
import type { ActReply, ActRequest, HostContract, ShardContract } from './protocol.js';
import { chat } from './shard/chat.js';
import { createReport, type ShardContext } from './shard/context.js';
import { login } from './shard/login.js';
import { viewProfile } from './shard/profile.js';
import { ban, logout, validate } from './shard/sessions.js';
import { trade } from './shard/trade.js';
import { nowUs } from './stage/evidence.js';

/** One shard of the game: a process that serves players and keeps nothing. `shard.ts <name> <address of shardkeep>` */

const [, , name, address] = process.argv;
if (name === undefined || address === undefined) throw new Error('usage: shard.ts <name> <address>');

async function act(context: ShardContext, { sessionToken, action }: ActRequest): Promise<ActReply> {
  const session = await validate(context, sessionToken);
  if (session.status === 'over') return { status: 'session_over', reason: session.reason };
  const { userId, sessionId } = session;
  switch (action.kind) {
    case 'move':
      return { status: 'done' };
    case 'view_profile':
      return { status: 'profile', profile: await viewProfile(context, userId) };
    case 'chat':
      return chat(context, userId);
    case 'trade': {
      const outcome = await trade(context, { giver: userId, partner: action.partner, picks: action.picks });
      return outcome === 'traded' ? { status: 'traded' } : { status: 'not_traded', why: outcome };
    }
    case 'logout':
      await logout(context, sessionId);
      return { status: 'done' };
  }
}

/** shardkeep's client has tried as long as a player would wait: tell the player, go on serving the others. */
async function orTryAgain<Reply>(work: Promise<Reply>): Promise<Reply | { readonly status: 'try_again' }> {
  const startedUs = nowUs();
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof ShardkeepError)) throw error;
    context.report(startedUs, { kind: 'call_failed', message: error.message });
    return { status: 'try_again' };
  }
}

/** As long as a player would wait: long enough for Redis to be restarted behind the service. */
const PATIENCE_MS = 10_000;

const shardkeep = connect(address, { timeoutMs: PATIENCE_MS });
const host = new Peer<HostContract, ShardContract>(process, {
  login: (request) => orTryAgain(login(context, request)),
  act: (request) => orTryAgain(act(context, request)),
  ban: (request) => ban(context, request),
});
const context: ShardContext = { name, shardkeep, host, report: createReport(name, host) };

// the main process is gone or has no more work: without the channel and the connections nothing keeps node running
process.once('disconnect', () => {
  void shardkeep.close();
});
