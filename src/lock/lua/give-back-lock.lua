#!lua flags=allow-oom
--[[
  give-back-lock: undo one answer that granted a lock, whose caller was gone before it came.

  KEYS[1] lock  hash  <ns>:lock:{<resource>}

  ARGV[1] lockToken         text     32 of [A-Za-z0-9_-], as it was granted
  ARGV[2] fenceRetentionMs  integer  1..31536000000, how long the fence outlives the lock

  Returns
    {'DONE'}        one answer less; if it was the last, the resource is free, or whose turn it is has it
    {'NOT_HOLDER'}  the token holds nothing (any more); nothing changed

  This is no release: with a request id the same caller may have tried again meanwhile and hold the grant by that answer.
  Atomicity: the count, the removal and the next grant are one step.
  Retry:     not safe, it would take back another call's answer.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/lock.lua"
--- @include "lib/queue.lua"
local lock = KEYS[1]
local lock_token, fence_retention_ms = ARGV[1], whole_number(ARGV[2], 1, MAX_FENCE_RETENTION_MS)
if not is_lock_token(lock_token) then return redis.error_reply('BADARG lockToken') end
if not fence_retention_ms then return redis.error_reply('BADARG fenceRetentionMs') end

local state, held = read_lock(lock, 'h:' .. lock_token)
local holder = live_holder(held)
if not holder then return {'NOT_HOLDER'} end
holder[HOLDER_ANSWERS] = holder[HOLDER_ANSWERS] - 1
if holder[HOLDER_ANSWERS] > 0 then
  put_holder(state, lock_token, holder)
else
  clear_expired(lock, state)
  remove_holder(lock, state, lock_token, holder)
  hand_over(lock, state)
end
write_lock(lock, state, fence_retention_ms)
if state.handed_to then tell_next(lock, state, state.handed_to) end
return {'DONE'}
