#!lua flags=no-writes
--[[
  peek-rate-limit: answer what check-rate-limit would, and charge nothing.

  KEYS[1..n] limits  hash and string or ZSET  for each limit <ns>:standing:{<subject>} and its record

  ARGV[1] calls         1
  ARGV[2] minCost       integer  0..64, as check-rate-limit takes it
  ARGV[3] chargeDenied  0
  ARGV[4..n] limits     as check-rate-limit takes them

  Returns
    {'ADMITTED', now_us, units, …}  every limit would admit
    {'DENIED', now_us, 0, …}        at least one would not
    {'CLOCK', now_us}               a window of the calendar is not now's
      and for each limit: over (as check-rate-limit answers it), used now, capacity, retry_after_us, reset_at_us, 0

  Atomicity: one look at all limits.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/decide.lua"
local limits, terms = KEYS, ARGV
local plans, admitted = plan_call(limits, 1, terms, 1)
if not plans then
  if admitted then return redis.error_reply(admitted) end
  return {'CLOCK', now_us}
end

if admitted then return reply_of('ADMITTED', plans[1].units, plans) end
return reply_of('DENIED', 0, plans)
