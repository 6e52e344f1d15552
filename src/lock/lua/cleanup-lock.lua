#!lua flags=allow-oom
--[[
  cleanup-lock: clear what is over of a lock, and hand it to whose turn it is.

  KEYS[1] lock  hash  <ns>:lock:{<resource>}

  ARGV[1] fenceRetentionMs  integer  1..31536000000, how long the fence outlives the lock

  Returns
    {'CLEARED', expired_holders, expired_waiters, lost}
      leases that were over, waiters that were gone, and of the leases those that had been taken up; integers

  Atomicity: the clearing and the handing over are one step.
  Retry:     safe; the second try finds nothing.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/lock.lua"
--- @include "lib/queue.lua"
local lock, fence_retention_ms = KEYS[1], whole_number(ARGV[1], 1, MAX_FENCE_RETENTION_MS)
if not fence_retention_ms then return redis.error_reply('BADARG fenceRetentionMs') end

local state = read_lock(lock)
clear_expired(lock, state)
if state.tail > state.head then
  -- also those that gave up behind the head, whom nobody else looks at before it is their turn
  local fields = redis.call('HGETALL', lock)
  for i = 1, #fields, 2 do
    local field = fields[i]
    local waiter = string.sub(field, 1, 2) == 'q:' and state.changes[field] == nil and cmsgpack.unpack(fields[i + 1])
    if waiter and waiter[WAITER_GIVES_UP_AT] <= now_ms then
      drop_waiter(state, tonumber(string.sub(field, 3)), waiter)
      state.expired_waiters = state.expired_waiters + 1
    end
  end
end
hand_over(lock, state)
-- where there is no room nobody looked at the queue: what is left of one that nobody stands in goes
if state.waiting == 0 then state.head = state.tail end
write_lock(lock, state, fence_retention_ms)
return {'CLEARED', state.expired_holders, state.expired_waiters, state.lost}
