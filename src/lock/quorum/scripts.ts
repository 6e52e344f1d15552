import { luaScript, UnexpectedReplyError } from '../../redis/lua-script.js';
import { ReplyReader } from '../../redis/reply.js';

/** What one master of a quorum can do. Fencing tokens are logical clocks in µs, below 2^53; times are of its clock. */

const from = import.meta.url;

/** A vote that the asker has. */
export interface VotedReply {
  /** `again`: had it before. */
  readonly status: 'granted' | 'again';
  readonly fence: number;
  readonly untilMs: number;
  readonly leftMs: number;
}

/** A vote that another has. */
export interface HeldReply {
  readonly status: 'held';
  readonly lockToken: string;
  readonly owner: string;
  readonly fence: number;
  readonly sinceMs: number;
  readonly untilMs: number;
  readonly leftMs: number;
}

export interface ClockSkewReply {
  readonly status: 'clock_skew';
  /** How far the service's clock is ahead of the master's; below 0 behind it. */
  readonly aheadMs: number;
}

export interface AmnesiaReply {
  readonly status: 'amnesia';
}

const AMNESIA: AmnesiaReply = { status: 'amnesia' };

/** What `read` makes of a whole reply. */
function parser<Reply>(read: (status: string, reader: ReplyReader) => Reply): (reply: unknown) => Reply {
  return (reply) => {
    const reader = new ReplyReader(reply);
    const answer = read(reader.text(), reader);
    reader.end();
    return answer;
  };
}

function readVoted(status: VotedReply['status'], reader: ReplyReader): VotedReply {
  return { status, fence: reader.number(), untilMs: reader.number(), leftMs: reader.number() };
}

function readHeld(reader: ReplyReader): HeldReply {
  return {
    status: 'held',
    lockToken: reader.text(),
    owner: reader.text(),
    fence: reader.number(),
    sinceMs: reader.number(),
    untilMs: reader.number(),
    leftMs: reader.number(),
  };
}

export type GrantReply = VotedReply | HeldReply | ClockSkewReply | AmnesiaReply;

export const grantVoteScript = luaScript({
  file: './lua/grant-vote.lua',
  from,
  keys: ['lock', 'marker'],
  args: ['lockToken', 'round', 'ttlMs', 'proposal', 'maxSkewUs', 'owner', 'fenceRetentionMs'],
  parse: parser((status, reader): GrantReply => {
    switch (status) {
      case 'GRANTED':
        return readVoted('granted', reader);
      case 'AGAIN':
        return readVoted('again', reader);
      case 'HELD':
        return readHeld(reader);
      case 'CLOCK_SKEW':
        return { status: 'clock_skew', aheadMs: reader.number() };
      case 'AMNESIA':
        return AMNESIA;
      default:
        throw new UnexpectedReplyError(status);
    }
  }),
});

export type RaiseReply = { readonly status: 'raised' | 'not_holder' } | ClockSkewReply | AmnesiaReply;

export const raiseFenceScript = luaScript({
  file: './lua/raise-fence.lua',
  from,
  keys: ['lock', 'marker'],
  args: ['lockToken', 'fence', 'maxSkewUs'],
  parse: parser((status, reader): RaiseReply => {
    switch (status) {
      case 'RAISED':
        return { status: 'raised' };
      case 'NOT_HOLDER':
        return { status: 'not_holder' };
      case 'CLOCK_SKEW':
        return { status: 'clock_skew', aheadMs: reader.number() };
      case 'AMNESIA':
        return AMNESIA;
      default:
        throw new UnexpectedReplyError(status);
    }
  }),
});

/** Whether the vote is gone. */
export const giveBackVoteScript = luaScript({
  file: './lua/give-back-vote.lua',
  from,
  keys: ['lock'],
  args: ['lockToken', 'round', 'fenceRetentionMs'],
  parse: parser(isDone),
});

/** Whether the token had the vote. */
export const releaseVoteScript = luaScript({
  file: './lua/release-vote.lua',
  from,
  keys: ['lock'],
  args: ['lockToken', 'fenceRetentionMs'],
  parse: parser(isDone),
});

/** The new end of the vote; undefined where this master counts for none. */
export const extendVoteScript = luaScript({
  file: './lua/extend-vote.lua',
  from,
  keys: ['lock', 'marker'],
  args: ['lockToken', 'ttlMs', 'fenceRetentionMs'],
  parse: parser((status, reader): number | undefined => {
    if (status === 'AMNESIA') return undefined;
    return isDone(status) ? reader.number() : undefined;
  }),
});

function isDone(status: string): boolean {
  if (status !== 'DONE' && status !== 'NOT_HOLDER') throw new UnexpectedReplyError(status);
  return status === 'DONE';
}

export type VoteState = HeldReply | { readonly status: 'free'; readonly fence: number } | AmnesiaReply;

export const getVoteScript = luaScript({
  file: './lua/get-vote.lua',
  from,
  keys: ['lock', 'marker'],
  args: [],
  parse: parser((status, reader): VoteState => {
    switch (status) {
      case 'HELD':
        return readHeld(reader);
      case 'FREE':
        return { status: 'free', fence: reader.number() };
      case 'AMNESIA':
        return AMNESIA;
      default:
        throw new UnexpectedReplyError(status);
    }
  }),
});

/** For how long the master does not vote yet; 0: it votes. */
export const admitMasterScript = luaScript({
  file: './lua/admit-master.lua',
  from,
  keys: ['marker'],
  args: ['runId', 'quarantineMs'],
  parse: parser((status, reader): number => {
    switch (status) {
      case 'ADMITTED':
        return 0;
      case 'QUARANTINED':
        return reader.number();
      default:
        throw new UnexpectedReplyError(status);
    }
  }),
});

export const quorumScripts = [
  grantVoteScript,
  raiseFenceScript,
  giveBackVoteScript,
  releaseVoteScript,
  extendVoteScript,
  getVoteScript,
  admitMasterScript,
];
