#!lua flags=allow-oom
--[[
  release-vote: take this master's vote back from the lock token that has it.

  KEYS[1] lock  hash  <ns>:lock:{<resource>}

  ARGV[1] lockToken         text     32 of [A-Za-z0-9_-]
  ARGV[2] fenceRetentionMs  integer  1..31536000000, how long the fence outlives the vote

  Returns
    {'DONE'}        the token had the vote, and does no more
    {'NOT_HOLDER'}  it had not (any more); nothing changed

  Atomicity: the look and the removal are one step, so a vote that just went to another is not touched.
  Retry:     safe; the second try answers NOT_HOLDER.    Clock: Redis TIME.
]]
--- @include "../../../redis/lua/clock.lua"
--- @include "lib/vote.lua"
local lock = KEYS[1]
local lock_token, fence_retention_ms = ARGV[1], whole_number(ARGV[2], 1, MAX_FENCE_RETENTION_MS)
if not is_lock_token(lock_token) then return redis.error_reply('BADARG lockToken') end
if not fence_retention_ms then return redis.error_reply('BADARG fenceRetentionMs') end

local stored = redis.call('HMGET', lock, 'vote', 'vote_until')
if stored[1] ~= lock_token or tonumber(stored[2]) <= now_ms then return {'NOT_HOLDER'} end
drop_vote(lock, fence_retention_ms)
return {'DONE'}
