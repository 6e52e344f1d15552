#!lua
--[[
  check-rate-limit: take units of one or more limits, all or nothing.

  KEYS[1..n] rings  string  <ns>:ratelimit:{<subject>}:<policy>, one a limit, none twice

  ARGV[1] cost       integer   1..64, units of every limit
  ARGV[2..n] limits  integers  for each key: limit 1..8192 (not below cost), window in ms 10..2592000000

  Returns
    {'ADMITTED', now_us, …}  charged to every limit
    {'DENIED', now_us, …}    charged nowhere, nothing written
      and for each key: over (1 = this limit denies), used after the call, retry_after_us, reset_at_us, time (names the
      admission for refund-rate-limit; 0 where nothing was charged)

  Atomicity: every limit is planned before the first is charged.
  Retry:     charges again.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/sliding-exact.lua"
local rings = KEYS
local call, bad = plan_all(rings, ARGV)
if not call then return redis.error_reply(bad) end

local reply = {call.admitted and 'ADMITTED' or 'DENIED', now_us}
for _, plan in ipairs(call.plans) do
  if call.admitted then
    local time = commit_admission(plan, call.cost)
    append_limit(reply, plan, plan.used + call.cost, time, time)
  else
    append_limit(reply, plan, plan.used, plan.ring.newest, 0)
  end
end
return reply
