#!lua
--[[
  acquire-lock: take permits of a resource, or stand in its queue.

  KEYS[1] lock  hash  <ns>:lock:{<resource>}

  ARGV[1] lockToken          text     32 of [A-Za-z0-9_-]: the token if this call is granted
  ARGV[2] ttlMs              integer  1..3600000
  ARGV[3] owner              text     up to 128 bytes
  ARGV[4] permits            integer  0..1000000; 0 = all
  ARGV[5] capacity           integer  1..1000000
  ARGV[6] reentrant          integer  1 = the owner may take it once more while it holds it
  ARGV[7] hasRequest         integer  1 = lockToken was made from a request id, so an earlier try may have it; 0 = it is new
  ARGV[8] waitMs             integer  0..60000; 0 = do not wait
  ARGV[9] channel            text     where the service listens that asks; empty = it neither waits nor keeps the lock
  ARGV[10] call              text     names the call among those of the service
  ARGV[11] stream            text     the stream that will keep the lock; empty = none
  ARGV[12] delayMs           integer  0..60000: how long the lock is closed when the holder gets lost
  ARGV[13] takesOver         integer  what becomes of a grant that an earlier try has: 0 = who keeps it goes on; 1 = this
                             stream keeps it, with a whole lease; 2 = the same, and the call was answered before
  ARGV[14] fenceRetentionMs  integer  1..31536000000, how long the fence outlives the lease

  Returns
    {'GRANTED', fencing_token, expires_at_ms, hold_count}
      a new grant, or the live one of the same request as it stands but for `takesOver` (then only its `answers` is
      counted up)
    {'WAITING', ticket, changes_in_ms}
      stands in the queue; after that time something may change that nobody tells of, 0 = never
    {'UPGRADE'}
      nothing changed; the owner holds fewer permits
    {'HELD', waiting, delay_left_ms, owner, fencing_token, acquired_at_ms, expires_at_ms, ttl_ms, permits}
    {'IN_DELAY', waiting, delay_left_ms}
    {'QUEUED', waiting, delay_left_ms}
      nothing changed but what was over; the first says one of the holders
      Fencing tokens are decimal strings, times in ms integers.
    and behind each, where leases were found over that nobody released, how many

  Atomicity: the look, the grant or the place in the queue, the fencing token and the key's expiry are one step.
  Retry:     safe with a request id; without one it finds its own first grant.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/lock.lua"
--- @include "lib/queue.lua"
local lock = KEYS[1]
local lock_token, owner, channel, call, stream = ARGV[1], ARGV[3], ARGV[9], ARGV[10], ARGV[11]
local ttl_ms, permits = whole_number(ARGV[2], 1, MAX_TTL_MS), whole_number(ARGV[4], 0, MAX_PERMITS)
local capacity, reentrant = whole_number(ARGV[5], 1, MAX_PERMITS), whole_number(ARGV[6], 0, 1)
local has_request, wait_ms = whole_number(ARGV[7], 0, 1), whole_number(ARGV[8], 0, MAX_WAIT_MS)
local delay_ms = whole_number(ARGV[12], 0, MAX_DELAY_MS)
local takes_over = whole_number(ARGV[13], 0, 2)
local fence_retention_ms = whole_number(ARGV[14], 1, MAX_FENCE_RETENTION_MS)
if not is_lock_token(lock_token) then return redis.error_reply('BADARG lockToken') end
if not ttl_ms then return redis.error_reply('BADARG ttlMs') end
if #owner > 128 then return redis.error_reply('BADARG owner') end
if not permits then return redis.error_reply('BADARG permits') end
if not capacity or capacity < permits then return redis.error_reply('BADARG capacity') end
if not reentrant then return redis.error_reply('BADARG reentrant') end
if not has_request then return redis.error_reply('BADARG hasRequest') end
if not wait_ms or wait_ms > 0 and channel == '' then return redis.error_reply('BADARG waitMs') end
if not delay_ms then return redis.error_reply('BADARG delayMs') end
if not takes_over then return redis.error_reply('BADARG takesOver') end
if not fence_retention_ms then return redis.error_reply('BADARG fenceRetentionMs') end

local state, held, ticket = read_lock(lock, has_request == 1 and 'h:' .. lock_token, has_request == 1 and 'w:' .. lock_token)

-- The answer of a call whose token has a grant.
local function answer_again(holder)
  local is_unclaimed = holder[HOLDER_ANSWERS] == 0
  local takes_it = stream ~= '' and (takes_over > 0 or is_unclaimed)
  local expires_at = (is_unclaimed or takes_it) and now_ms + ttl_ms or holder[HOLDER_EXPIRES_AT]
  if takes_over < 2 or is_unclaimed then holder[HOLDER_ANSWERS] = holder[HOLDER_ANSWERS] + 1 end
  holder[HOLDER_CALLS] = nil
  if takes_it then
    holder[HOLDER_DELAY], holder[HOLDER_CHANNEL], holder[HOLDER_STREAM] = delay_ms, channel, stream
  end
  move_end(state, lock_token, holder, expires_at)
  local count = hold_count(lock, state, holder)
  write_lock(lock, state, fence_retention_ms)
  return telling_lost(state, {'GRANTED', holder[HOLDER_FENCING_TOKEN], holder[HOLDER_EXPIRES_AT], count})
end

local holder = live_holder(held)
if holder then return answer_again(holder) end

clear_expired(lock, state)
local group = reentrant == 1 and group_of(lock, state, owner) or nil
if group and not covers(group, permits) then return {'UPGRADE'} end
if not group then hand_over(lock, state) end
-- its own place may have been the first
holder = has_request == 1 and live_holder(state.changes['h:' .. lock_token])
if holder then return answer_again(holder) end
if group or state.delay_until <= now_ms and state.tail == state.head and has_room(state, permits, capacity) then
  local new = {permits, now_ms + ttl_ms, now_ms, '', owner, 1, reentrant, delay_ms, channel, stream}
  local count = grant(state, lock_token, new, group)
  write_lock(lock, state, fence_retention_ms)
  return telling_lost(state, {'GRANTED', new[HOLDER_FENCING_TOKEN], new[HOLDER_EXPIRES_AT], count})
end
if wait_ms == 0 then
  write_lock(lock, state, fence_retention_ms)
  if state.handed_to then tell_next(lock, state, state.handed_to) end
  return telling_lost(state, refusal(lock, state))
end

-- an earlier try of the request that waits yet: its place is this call's
local place = ticket and tonumber(ticket) >= state.head and read_field(lock, state, 'q:' .. ticket)
local waiter = place and cmsgpack.unpack(place)
local gives_up_at = now_ms + wait_ms
local new = {lock_token, permits, capacity, ttl_ms, gives_up_at, now_ms, owner, reentrant, delay_ms, channel, stream,
  has_request, call}
if has_request == 1 then new[WAITER_CALLS] = {} end
if waiter and waiter[WAITER_TOKEN] == lock_token then
  -- the earlier try may wait yet, and stays when this one gives up
  new[WAITER_CALLS] = waiter[WAITER_CALLS]
  if #new[WAITER_CALLS] == MAX_CALLS then table.remove(new[WAITER_CALLS], 1) end
  for _, other in ipairs(new[WAITER_CALLS]) do
    new[WAITER_GIVES_UP_AT] = math.max(new[WAITER_GIVES_UP_AT], other[CALL_GIVES_UP_AT])
  end
else
  ticket = decimal(state.tail)
  state.tail = state.tail + 1
  state.waiting = state.waiting + 1
end
if has_request == 1 then table.insert(new[WAITER_CALLS], {call, channel, gives_up_at, stream, delay_ms}) end
put(state, 'q:' .. ticket, cmsgpack.pack(new))
if has_request == 1 then put(state, 'w:' .. lock_token, ticket) end
state.keep_until = math.max(state.keep_until, new[WAITER_GIVES_UP_AT])
write_lock(lock, state, fence_retention_ms)
return telling_lost(state, {'WAITING', ticket, changes_in_ms(lock, state)})
