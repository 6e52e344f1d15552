#!lua flags=allow-oom
--[[
  cancel-wait: take a waiter out of the queue; what was handed to it goes to the next.

  KEYS[1] lock  hash  <ns>:lock:{<resource>}

  ARGV[1] lockToken         text     32 of [A-Za-z0-9_-]
  ARGV[2] ticket            integer  as acquire-lock answered it; 0..2^53
  ARGV[3] call              text     as acquire-lock was given it
  ARGV[4] fenceRetentionMs  integer  1..31536000000, how long the fence outlives the lock

  Returns
    {'HELD', waiting, delay_left_ms, owner, fencing_token, acquired_at_ms, expires_at_ms, ttl_ms, permits}
    {'IN_DELAY', waiting, delay_left_ms}
    {'QUEUED', waiting, delay_left_ms}
      what was in the way
    and behind each, where leases were found over that nobody released, how many

  A place, or a grant not taken up yet, stays while another call of the same request waits for it.
  Atomicity: the removal and the handing over are one step.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/lock.lua"
--- @include "lib/queue.lua"
local lock = KEYS[1]
local lock_token, ticket, call = ARGV[1], whole_number(ARGV[2], 0, MAX_TICKET), ARGV[3]
local fence_retention_ms = whole_number(ARGV[4], 1, MAX_FENCE_RETENTION_MS)
if not is_lock_token(lock_token) then return redis.error_reply('BADARG lockToken') end
if not ticket then return redis.error_reply('BADARG ticket') end
if not fence_retention_ms then return redis.error_reply('BADARG fenceRetentionMs') end

-- Takes this call out of those that wait at a place; answers whether others do.
local function leave_place(waiter)
  local left = {}
  for _, other in ipairs(waiter[WAITER_CALLS] or {}) do
    if other[CALL_ID] ~= call then left[#left + 1] = other end
  end
  local last = left[#left]
  if not last then return waiter[WAITER_CALL] ~= call end
  waiter[WAITER_CALLS], waiter[WAITER_CALL], waiter[WAITER_CHANNEL] = left, last[CALL_ID], last[CALL_CHANNEL]
  waiter[WAITER_STREAM], waiter[WAITER_DELAY], waiter[WAITER_GIVES_UP_AT] = last[CALL_STREAM], last[CALL_DELAY], 0
  for _, other in ipairs(left) do
    waiter[WAITER_GIVES_UP_AT] = math.max(waiter[WAITER_GIVES_UP_AT], other[CALL_GIVES_UP_AT])
  end
  return true
end

-- Takes this call out of those that may take a grant up; answers whether others may.
local function leave_grant(holder)
  local left = {}
  for _, other in ipairs(holder[HOLDER_CALLS] or {}) do
    if other ~= call then left[#left + 1] = other end
  end
  holder[HOLDER_CALLS] = left
  return #left > 0
end

local state, held, place = read_lock(lock, 'h:' .. lock_token, 'q:' .. decimal(ticket))
clear_expired(lock, state)
local field = 'q:' .. decimal(ticket)
place = state.changes[field] == nil and place
local holder = live_holder(held)
local waiter = place and cmsgpack.unpack(place)
if waiter and waiter[WAITER_TOKEN] == lock_token then
  if leave_place(waiter) then put(state, field, cmsgpack.pack(waiter)) else drop_waiter(state, ticket, waiter) end
elseif holder and holder[HOLDER_ANSWERS] == 0 then
  if leave_grant(holder) then
    put_holder(state, lock_token, holder)
  else
    remove_holder(lock, state, lock_token, holder)
  end
end
hand_over(lock, state)
write_lock(lock, state, fence_retention_ms)
tell_next(lock, state, state.handed_to or '')
return telling_lost(state, refusal(lock, state))
