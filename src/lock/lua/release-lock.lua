#!lua flags=allow-oom
--[[
  release-lock: give a resource back, and over to whose turn it is.

  KEYS[1] lock  hash  <ns>:lock:{<resource>}

  ARGV[1] lockToken         text     32 of [A-Za-z0-9_-]
  ARGV[2] fenceRetentionMs  integer  1..31536000000, how long the fence outlives the lock

  Returns
    {'DONE', held_ms}  the token held the resource for so long, and does no more
    {'NOT_HOLDER'}     it did not (any more); nothing changed
    and behind each, where leases were found over that nobody released, how many

  Atomicity: the look, the removal and the next grant are one step, so a lease that just went to another is not touched,
             and nobody comes between a holder and the next.
  Retry:     safe; the second try answers NOT_HOLDER.    Clock: Redis TIME.
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
clear_expired(lock, state)
remove_holder(lock, state, lock_token, holder)
if holder[HOLDER_STREAM] ~= '' then redis.call('SPUBLISH', holder[HOLDER_CHANNEL], 'R' .. lock_token) end
hand_over(lock, state)
write_lock(lock, state, fence_retention_ms)
if state.handed_to then tell_next(lock, state, state.handed_to) end
return telling_lost(state, {'DONE', now_ms - holder[HOLDER_ACQUIRED_AT]})
