import { luaScript, UnexpectedReplyError } from '../redis/lua-script.js';
import { ReplyReader } from '../redis/reply.js';

const from = import.meta.url;

export interface Claim {
  readonly sessionId: string;
  readonly owner: string;
  /** 0 where nobody plays the character and this session is next in line for it. */
  readonly epoch: number;
  readonly claimedAtMs: number;
  /** 0: nobody is next. */
  readonly drainingUntilMs: number;
}

function readClaim(reader: ReplyReader): Claim {
  return {
    sessionId: reader.text(),
    owner: reader.text(),
    epoch: reader.number(),
    claimedAtMs: reader.number(),
    drainingUntilMs: reader.number(),
  };
}

export type ClaimCharacterReply =
  | { readonly status: 'claimed'; readonly claim: Claim; readonly takenFromSessionId: string }
  | { readonly status: 'draining'; readonly claim: Claim; readonly retryAfterMs: number }
  | { readonly status: 'held'; readonly claim: Claim }
  | { readonly status: 'gone' }
  | { readonly status: 'too_many' };

export const claimCharacterScript = luaScript({
  file: './lua/claim-character.lua',
  from,
  keys: ['session', 'character', 'events'],
  args: ['sessionId', 'user', 'characterId', 'owner', 'policy', 'drainMs'],
  parse: (reply): ClaimCharacterReply => {
    const reader = new ReplyReader(reply);
    const status = reader.text();
    switch (status) {
      case 'CLAIMED':
        return { status: 'claimed', claim: readClaim(reader), takenFromSessionId: reader.text() };
      case 'DRAINING':
        return { status: 'draining', claim: readClaim(reader), retryAfterMs: reader.number() };
      case 'HELD':
        return { status: 'held', claim: readClaim(reader) };
      case 'GONE':
        return { status: 'gone' };
      case 'TOO_MANY_CHARACTERS':
        return { status: 'too_many' };
      default:
        throw new UnexpectedReplyError(status);
    }
  },
});

export const releaseCharacterScript = luaScript({
  file: './lua/release-character.lua',
  from,
  keys: ['character'],
  args: ['epoch', 'sessionPrefix'],
  parse: (reply): boolean => {
    const reader = new ReplyReader(reply);
    const status = reader.text();
    reader.end();
    if (status === 'RELEASED') return true;
    if (status === 'OTHER') return false;
    throw new UnexpectedReplyError(status);
  },
});

export const getCharacterClaimScript = luaScript({
  file: './lua/get-character-claim.lua',
  from,
  keys: ['character'],
  args: ['sessionPrefix'],
  parse: (reply): Claim | undefined => {
    const reader = new ReplyReader(reply);
    const status = reader.text();
    if (status === 'PLAYED') return readClaim(reader);
    if (status === 'FREE') return undefined;
    throw new UnexpectedReplyError(status);
  },
});

export type CheckCharacterClaimReply =
  { readonly valid: true; readonly drainingUntilMs: number } | { readonly valid: false };

export const checkCharacterClaimScript = luaScript({
  file: './lua/check-character-claim.lua',
  from,
  keys: ['character'],
  args: ['epoch', 'sessionPrefix'],
  parse: (reply): CheckCharacterClaimReply => {
    const reader = new ReplyReader(reply);
    const status = reader.text();
    if (status === 'VALID') return { valid: true, drainingUntilMs: reader.number() };
    if (status === 'OTHER') return { valid: false };
    throw new UnexpectedReplyError(status);
  },
});

export const claimScripts = [
  claimCharacterScript,
  releaseCharacterScript,
  getCharacterClaimScript,
  checkCharacterClaimScript,
];
