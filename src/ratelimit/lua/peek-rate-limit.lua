#!lua flags=no-writes
--[[
  peek-rate-limit: answer what check-rate-limit would, and charge nothing.

  KEYS[1..n] rings  string  <ns>:ratelimit:{<subject>}:<policy>, one a limit, none twice

  ARGV[1] cost       integer   1..64, units of every limit
  ARGV[2..n] limits  integers  for each key: limit 1..8192 (not below cost), window in ms 10..2592000000

  Returns
    {'ADMITTED', now_us, …}  every limit would admit
    {'DENIED', now_us, …}    at least one would not
      and for each key: over (1 = this limit denies), used now, retry_after_us, reset_at_us, 0

  Atomicity: one look at all limits.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/sliding-exact.lua"
local rings = KEYS
local call, bad = plan_all(rings, ARGV)
if not call then return redis.error_reply(bad) end

local reply = {call.admitted and 'ADMITTED' or 'DENIED', now_us}
for _, plan in ipairs(call.plans) do append_limit(reply, plan, plan.used, plan.ring.newest, 0) end
return reply
