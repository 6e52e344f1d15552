#!lua flags=allow-oom
--[[
  give-back-vote: undo what one round was granted, unless another round of the same lock token was answered with it too.

  KEYS[1] lock  hash  <ns>:lock:{<resource>}

  ARGV[1] lockToken         text     32 of [A-Za-z0-9_-]
  ARGV[2] round             text     8 of [A-Za-z0-9_-]
  ARGV[3] fenceRetentionMs  integer  1..31536000000, how long the fence outlives the vote

  Returns
    {'DONE'}        the vote was this round's alone, and is nobody's now
    {'NOT_HOLDER'}  it was not, or is another round's too; only this round was struck out

  Atomicity: the look and the removal are one step, so a vote that just went to another is not touched.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "../../../redis/lua/clock.lua"
--- @include "lib/vote.lua"
local lock = KEYS[1]
local lock_token, round, fence_retention_ms = ARGV[1], ARGV[2], whole_number(ARGV[3], 1, MAX_FENCE_RETENTION_MS)
if not is_lock_token(lock_token) then return redis.error_reply('BADARG lockToken') end
if not is_round(round) then return redis.error_reply('BADARG round') end
if not fence_retention_ms then return redis.error_reply('BADARG fenceRetentionMs') end

local stored = redis.call('HMGET', lock, 'vote', 'vote_rounds')
if stored[1] ~= lock_token then return {'NOT_HOLDER'} end
local left = ''
for at = 1, #stored[2], ROUND_BYTES do
  local noted = string.sub(stored[2], at, at + ROUND_BYTES - 1)
  if noted ~= round then left = left .. noted end
end
if left == '' then
  drop_vote(lock, fence_retention_ms)
  return {'DONE'}
end
redis.call('HSET', lock, 'vote_rounds', left)
return {'NOT_HOLDER'}
