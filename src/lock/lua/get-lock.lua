#!lua flags=no-writes
--[[
  get-lock: tell who holds a resource and who waits for it.

  KEYS[1] lock  hash  <ns>:lock:{<resource>}

  ARGV[1] maxListed  integer  0..1000: how many holders, and how many waiters, are listed at most

  Returns
    {fence, delay_left_ms, holder_count, waiting_count, changes_in_ms, ended_ms_ago, listed_holders,
      then for each listed holder: owner, fencing_token, acquired_at_ms, expires_at_ms, ttl_ms, permits
      then for each listed waiter, in their order: owner, permits, since_ms, gives_up_at_ms}
      fencing tokens are decimal strings, fence '0' where none is known; the rest integers. After changes_in_ms
      a lease, a wait or the delay ends of which nobody may be told, 0 = never; before ended_ms_ago, at least 1, the
      latest lease ended that nobody has cleared yet, 0 = there is none

  What is over counts as gone, whether or not it was cleared.
  Atomicity: one look.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/lock.lua"
local lock, max_listed = KEYS[1], whole_number(ARGV[1], 0, 1000)
if not max_listed then return redis.error_reply('BADARG maxListed') end

local fields = redis.call('HGETALL', lock)
local fence, delay_until, changes_at, ended_at, holders, waiters = '0', 0, math.huge, 0, {}, {}
for i = 1, #fields, 2 do
  local field, value = fields[i], fields[i + 1]
  local kind = string.sub(field, 1, 2)
  if field == 'fence' then
    fence = value
  elseif field == 'delay' then
    delay_until = math.max(delay_until, tonumber(value))
  elseif kind == 'h:' then
    local holder = cmsgpack.unpack(value)
    if is_alive(holder) then
      holders[#holders + 1] = holder
      changes_at = math.min(changes_at, holder[HOLDER_EXPIRES_AT])
    else
      ended_at = math.max(ended_at, holder[HOLDER_EXPIRES_AT])
      if holder[HOLDER_DELAY] > 0 and holder[HOLDER_ANSWERS] > 0 then
        delay_until = math.max(delay_until, holder[HOLDER_EXPIRES_AT] + holder[HOLDER_DELAY])
      end
    end
  elseif kind == 'q:' then
    local waiter = cmsgpack.unpack(value)
    if waiter[WAITER_GIVES_UP_AT] > now_ms then
      changes_at = math.min(changes_at, waiter[WAITER_GIVES_UP_AT])
      waiters[#waiters + 1] = {ticket = tonumber(string.sub(field, 3)), waiter = waiter}
    end
  end
end
table.sort(waiters, function(a, b) return a.ticket < b.ticket end)
if delay_until > now_ms then changes_at = math.min(changes_at, delay_until) end
local changes_in_ms = changes_at < math.huge and changes_at - now_ms or 0
local ended_ms_ago = ended_at > 0 and math.max(1, now_ms - ended_at) or 0
local reply = {fence, math.max(0, delay_until - now_ms), #holders, #waiters, changes_in_ms, ended_ms_ago,
  math.min(#holders, max_listed)}
for index = 1, math.min(#holders, max_listed) do append_holder(reply, holders[index]) end
for index = 1, math.min(#waiters, max_listed) do
  local waiter = waiters[index].waiter
  reply[#reply + 1] = waiter[WAITER_OWNER]
  reply[#reply + 1] = waiter[WAITER_PERMITS]
  reply[#reply + 1] = waiter[WAITER_SINCE]
  reply[#reply + 1] = waiter[WAITER_GIVES_UP_AT]
end
return reply
