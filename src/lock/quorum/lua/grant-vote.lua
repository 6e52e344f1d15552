#!lua
--[[
  grant-vote: give this master's vote for a lock, and a fencing token above all that it knows of.

  KEYS[1] lock    hash  <ns>:lock:{<resource>}
  KEYS[2] marker  hash  <ns>:quorum

  ARGV[1] lockToken         text     32 of [A-Za-z0-9_-]: who asks
  ARGV[2] round             text     8 of [A-Za-z0-9_-]: names the asking among those of the same lock token
  ARGV[3] ttlMs             integer  1..3600000
  ARGV[4] proposal          integer  1..2^53-1, µs: the asker's clock, or the last fencing token it saw + 1
  ARGV[5] maxSkewUs         integer  0..60000000: how far the proposal may be from this master's clock
  ARGV[6] owner             text     up to 128 bytes
  ARGV[7] fenceRetentionMs  integer  1..31536000000, how long the fence outlives the vote; more than 2 maxSkewUs

  Returns
    {'GRANTED', fence, until_ms, left_ms}   a new vote
    {'AGAIN', fence, until_ms, left_ms}     the lock token has the vote already; only the round is noted
    {'HELD', lock_token, owner, fence, since_ms, until_ms, left_ms}   another has it; nothing changed
    {'CLOCK_SKEW', ahead_ms}                the proposal is too far from this master's clock; nothing changed
    {'AMNESIA'}                             this master may have forgotten votes and does not vote; nothing changed
      Fences are decimal strings, times in ms integers.

  The limit on both sides keeps the order of tokens where a master forgets: what it has answered was never more than the
  skew ahead of its clock, and what it grants later is never more than the skew behind it. It also refuses what was sent
  long ago and arrives now.
  Atomicity: the look, the vote, the fence and the key's expiry are one step.
  Retry:     safe: the same lock token has the same vote.    Clock: Redis TIME.
]]
--- @include "../../../redis/lua/clock.lua"
--- @include "lib/vote.lua"
local lock, marker = KEYS[1], KEYS[2]
local lock_token, round, owner = ARGV[1], ARGV[2], ARGV[6]
local ttl_ms, proposal = whole_number(ARGV[3], 1, MAX_TTL_MS), whole_number(ARGV[4], 1, MAX_TOKEN)
local max_skew_us = whole_number(ARGV[5], 0, MAX_SKEW_US)
local fence_retention_ms = whole_number(ARGV[7], 1, MAX_FENCE_RETENTION_MS)
if not is_lock_token(lock_token) then return redis.error_reply('BADARG lockToken') end
if not is_round(round) then return redis.error_reply('BADARG round') end
if not ttl_ms then return redis.error_reply('BADARG ttlMs') end
if not proposal then return redis.error_reply('BADARG proposal') end
if not max_skew_us then return redis.error_reply('BADARG maxSkewUs') end
if #owner > 128 then return redis.error_reply('BADARG owner') end
if not fence_retention_ms then return redis.error_reply('BADARG fenceRetentionMs') end

if not is_admitted(marker) then return {'AMNESIA'} end
local stored = redis.call('HMGET', lock, 'fence', 'vote', 'vote_until', 'vote_since', 'vote_owner', 'vote_rounds')
local fence, vote, vote_until = tonumber(stored[1] or 0), stored[2], tonumber(stored[3] or 0)
if vote and vote_until > now_ms then
  if vote ~= lock_token then
    return {'HELD', vote, stored[5], stored[1], tonumber(stored[4]), vote_until, vote_until - now_ms}
  end
  -- a round more than fit can not give the vote back, which then ends by itself
  if #stored[6] < MAX_ROUNDS * ROUND_BYTES then redis.call('HSET', lock, 'vote_rounds', stored[6] .. round) end
  return {'AGAIN', stored[1], vote_until, vote_until - now_ms}
end

local ahead_ms = skew_ms(proposal, max_skew_us)
if ahead_ms then return {'CLOCK_SKEW', ahead_ms} end

local until_ms, granted = now_ms + ttl_ms, decimal(math.max(fence + 1, proposal))
redis.call('HSET', lock, 'fence', granted, 'vote', lock_token, 'vote_until', decimal(until_ms), 'vote_since',
  decimal(now_ms), 'vote_owner', owner, 'vote_rounds', round)
redis.call('PEXPIREAT', lock, decimal(until_ms + fence_retention_ms))
return {'GRANTED', granted, until_ms, ttl_ms}
