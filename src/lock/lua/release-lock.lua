#!lua flags=allow-oom
--[[
  release-lock: give a resource back.

  KEYS[1] lock  hash  <ns>:lock:{<resource>}

  ARGV[1] lockToken         text     32 of [A-Za-z0-9_-]
  ARGV[2] fenceRetentionMs  integer  1..31536000000, how long the fence outlives the lock

  Returns
    {'DONE'}        the token held the resource, and does no more
    {'NOT_HOLDER'}  it did not (any more); nothing changed

  Atomicity: the look and the removal are one step, so a lease that just went to another is not touched.
  Retry:     safe; the second try answers NOT_HOLDER.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/holders.lua"
local lock = KEYS[1]
local lock_token, fence_retention_ms = ARGV[1], whole_number(ARGV[2], 1, MAX_FENCE_RETENTION_MS)
if not is_lock_token(lock_token) then return redis.error_reply('BADARG lockToken') end
if not fence_retention_ms then return redis.error_reply('BADARG fenceRetentionMs') end

if not read_live_holder(lock, lock_token) then return {'NOT_HOLDER'} end
redis.call('HDEL', lock, HOLDER_PREFIX .. lock_token)
keep_lock_until(lock, now_ms + fence_retention_ms)
return {'DONE'}
