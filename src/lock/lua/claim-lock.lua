#!lua flags=allow-oom
--[[
  claim-lock: take up what was handed to a waiter, or see how it stands; hand on what is over.

  KEYS[1] lock  hash  <ns>:lock:{<resource>}

  ARGV[1] lockToken         text     32 of [A-Za-z0-9_-]
  ARGV[2] ticket            integer  as acquire-lock answered it; 0..2^53
  ARGV[3] ttlMs             integer  1..3600000
  ARGV[4] fenceRetentionMs  integer  1..31536000000, how long the fence outlives the lease

  Returns
    {'GRANTED', fencing_token, expires_at_ms, hold_count}  the token holds the resource for its whole lease from now
    {'WAITING', changes_in_ms}  it stands in the queue yet; after that time something may change that nobody tells of
    {'GONE'}                    neither: it was taken for dead
      the fencing token is a decimal string, times in ms integers
    and behind each, where leases were found over that nobody released, how many

  Atomicity: the look, the clearing of what is over and the lease are one step.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/lock.lua"
--- @include "lib/queue.lua"
local lock = KEYS[1]
local lock_token, ticket = ARGV[1], whole_number(ARGV[2], 0, MAX_TICKET)
local ttl_ms = whole_number(ARGV[3], 1, MAX_TTL_MS)
local fence_retention_ms = whole_number(ARGV[4], 1, MAX_FENCE_RETENTION_MS)
if not is_lock_token(lock_token) then return redis.error_reply('BADARG lockToken') end
if not ticket then return redis.error_reply('BADARG ticket') end
if not ttl_ms then return redis.error_reply('BADARG ttlMs') end
if not fence_retention_ms then return redis.error_reply('BADARG fenceRetentionMs') end

local state = read_lock(lock)
clear_expired(lock, state)
hand_over(lock, state)
-- also what this very call handed over
local holder = live_holder(read_field(lock, state, 'h:' .. lock_token))
if holder then
  local expires_at = holder[HOLDER_ANSWERS] == 0 and now_ms + ttl_ms or holder[HOLDER_EXPIRES_AT]
  holder[HOLDER_ANSWERS] = holder[HOLDER_ANSWERS] + 1
  holder[HOLDER_CALLS] = nil
  move_end(state, lock_token, holder, expires_at)
  local count = hold_count(lock, state, holder)
  write_lock(lock, state, fence_retention_ms)
  tell_next(lock, state, holder[HOLDER_CHANNEL])
  return telling_lost(state, {'GRANTED', holder[HOLDER_FENCING_TOKEN], holder[HOLDER_EXPIRES_AT], count})
end
write_lock(lock, state, fence_retention_ms)
if state.handed_to then tell_next(lock, state, state.handed_to) end
local waiter = redis.call('HGET', lock, 'q:' .. decimal(ticket))
waiter = waiter and cmsgpack.unpack(waiter)
-- of whichever call of the same request
if not waiter or waiter[WAITER_TOKEN] ~= lock_token then
  return telling_lost(state, {'GONE'})
end
return telling_lost(state, {'WAITING', changes_in_ms(lock, state)})
