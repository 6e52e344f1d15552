#!lua flags=allow-oom
--[[
  detach-lock: a stream keeps a lock no more.

  KEYS[1] lock  hash  <ns>:lock:{<resource>}

  ARGV[1] lockToken         text     32 of [A-Za-z0-9_-]
  ARGV[2] stream            text     the stream that kept it, not empty
  ARGV[3] isClean           integer  1 = its caller gave it up: it is released now; 0 = its caller got lost
  ARGV[4] graceMs           integer  0..60000: for how long the holder keeps it that got lost; the delay it was granted
                                     with comes behind that
  ARGV[5] fenceRetentionMs  integer  1..31536000000, how long the fence outlives the lock

  Returns
    {'DONE'}       the resource is free, or whose turn it is has it, or it will be when grace and delay are over
    {'NOT_KEPT'}   the token does not hold it (any more), or another stream keeps it; nothing changed

  Grace and delay run in Redis, so they end although the service may be gone by then.
  Atomicity: the look, the new end and the next grant are one step, so a stream that breaks late takes nothing from the
             one that its caller came back by.
  Retry:     safe; the second try answers NOT_KEPT.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/lock.lua"
--- @include "lib/queue.lua"
local lock = KEYS[1]
local lock_token, stream, is_clean = ARGV[1], ARGV[2], whole_number(ARGV[3], 0, 1)
local grace_ms, fence_retention_ms = whole_number(ARGV[4], 0, MAX_WAIT_MS), whole_number(ARGV[5], 1, MAX_FENCE_RETENTION_MS)
if not is_lock_token(lock_token) then return redis.error_reply('BADARG lockToken') end
if stream == '' then return redis.error_reply('BADARG stream') end
if not is_clean then return redis.error_reply('BADARG isClean') end
if not grace_ms then return redis.error_reply('BADARG graceMs') end
if not fence_retention_ms then return redis.error_reply('BADARG fenceRetentionMs') end

local state, held = read_lock(lock, 'h:' .. lock_token)
local holder = live_holder(held)
if not holder or holder[HOLDER_STREAM] ~= stream then return {'NOT_KEPT'} end
-- first, because it counts from what Redis has, where this holder still is
clear_expired(lock, state)
if is_clean == 0 and grace_ms > 0 then
  holder[HOLDER_CHANNEL], holder[HOLDER_STREAM] = '', ''
  move_end(state, lock_token, holder, now_ms + grace_ms)
else
  remove_holder(lock, state, lock_token, holder)
  if is_clean == 0 and holder[HOLDER_DELAY] > 0 then
    state.delay_until = math.max(state.delay_until, now_ms + holder[HOLDER_DELAY])
  end
  hand_over(lock, state)
end
write_lock(lock, state, fence_retention_ms)
tell_next(lock, state, state.handed_to or '')
return {'DONE'}
