#!lua flags=allow-oom
--[[
  extend-vote: set the end of a vote, later or earlier than it was.

  KEYS[1] lock    hash  <ns>:lock:{<resource>}
  KEYS[2] marker  hash  <ns>:quorum

  ARGV[1] lockToken         text     32 of [A-Za-z0-9_-]
  ARGV[2] ttlMs             integer  1..3600000, from now
  ARGV[3] fenceRetentionMs  integer  1..31536000000, how long the fence outlives the vote

  Returns
    {'DONE', until_ms}  the vote ends then
    {'NOT_HOLDER'}      the token does not have the vote (any more); nothing changed
    {'AMNESIA'}         this master may have forgotten votes and counts for none; nothing changed

  Atomicity: the look and the change are one step.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "../../../redis/lua/clock.lua"
--- @include "lib/vote.lua"
local lock, marker = KEYS[1], KEYS[2]
local lock_token, ttl_ms = ARGV[1], whole_number(ARGV[2], 1, MAX_TTL_MS)
local fence_retention_ms = whole_number(ARGV[3], 1, MAX_FENCE_RETENTION_MS)
if not is_lock_token(lock_token) then return redis.error_reply('BADARG lockToken') end
if not ttl_ms then return redis.error_reply('BADARG ttlMs') end
if not fence_retention_ms then return redis.error_reply('BADARG fenceRetentionMs') end

if not is_admitted(marker) then return {'AMNESIA'} end
local stored = redis.call('HMGET', lock, 'vote', 'vote_until')
if stored[1] ~= lock_token or tonumber(stored[2]) <= now_ms then return {'NOT_HOLDER'} end
local until_ms = now_ms + ttl_ms
redis.call('HSET', lock, 'vote_until', decimal(until_ms))
redis.call('PEXPIREAT', lock, decimal(until_ms + fence_retention_ms))
return {'DONE', until_ms}
