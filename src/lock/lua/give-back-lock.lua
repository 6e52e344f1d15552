#!lua flags=allow-oom
--[[
  give-back-lock: undo one answer of acquire-lock whose caller was gone before it came.

  KEYS[1] lock  hash  <ns>:lock:{<resource>}

  ARGV[1] lockToken         text     32 of [A-Za-z0-9_-], as acquire-lock answered it
  ARGV[2] fenceRetentionMs  integer  1..31536000000, how long the fence outlives the lock

  Returns
    {'DONE'}        one answer less; the resource is free if it was the last
    {'NOT_HOLDER'}  the token holds nothing (any more); nothing changed

  This is no release: with a requestId the same caller may have tried again meanwhile and hold the grant by that answer.
  Atomicity: the count and the removal are one step.
  Retry:     not safe, it would take back another call's answer.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/holders.lua"
local lock = KEYS[1]
local lock_token, fence_retention_ms = ARGV[1], whole_number(ARGV[2], 1, MAX_FENCE_RETENTION_MS)
if not is_lock_token(lock_token) then return redis.error_reply('BADARG lockToken') end
if not fence_retention_ms then return redis.error_reply('BADARG fenceRetentionMs') end

local record = read_live_holder(lock, lock_token)
if not record then return {'NOT_HOLDER'} end
record[HOLDER_ANSWERS] = record[HOLDER_ANSWERS] - 1
if record[HOLDER_ANSWERS] > 0 then
  write_holder(lock, lock_token, record)
else
  redis.call('HDEL', lock, HOLDER_PREFIX .. lock_token)
end
keep_lock_until(lock, now_ms + fence_retention_ms)
return {'DONE'}
