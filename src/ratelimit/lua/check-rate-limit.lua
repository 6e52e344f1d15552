#!lua
--[[
  check-rate-limit: take units of one or more limits, all or nothing; for several calls that are alike, one after the other.

  KEYS[1..n] limits  hash and string or ZSET  for each limit <ns>:standing:{<subject>} and its record

  ARGV[1] calls         integer  1..10000, how many; more than 1 only without minCost, chargeDenied, blocks, ladders and
                        CONCURRENCY, and where none is refunded: they share a mark
  ARGV[2] minCost       integer  0..64, what is enough where cost is not left; 0: all or nothing
  ARGV[3] chargeDenied  0 | 1    whether a denied call counts too
  ARGV[4..n] limits     for each limit: algorithm 1..6, limit 1..10^9, window in ms 10..2764800000, cost
                        1..1000000001, name of the policy in the standing, and '' or more terms in JSON: burst, shadow,
                        holder, from_ms and until_ms (CALENDAR), block_ms, ban_after, ban_within_ms, ban_ladder_ms,
                        ban_decay_ms

  Returns
    {'ADMITTED', now_us, units, …}       every call charged to every limit
    {'DENIED', now_us, 0, …}             none charged
    {'PART', now_us, units, calls, …}    so many calls charged, the rest not; limits as after the charge, then as the rest
                                         meets them
    {'CLOCK', now_us}                    a window of the calendar is not now's; nothing done
      and for each limit: over (1 = this limit denies, 2 = by a ban, 3 = by one that people set), used after the call,
      capacity, retry_after_us, reset_at_us, mark (names the charge for refund-rate-limit, 0 where nothing was charged; of a call that was DENIED
      how long a block or a ban goes on, in µs)

  Atomicity: every limit is planned before the first is charged.
  Retry:     charges again.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/decide.lua"
--- @include "lib/denials.lua"
local limits, terms = KEYS, ARGV
local calls, charge_denied = tonumber(ARGV[1]), ARGV[3] == '1'
if not calls or calls < 1 or calls > 10000 then return redis.error_reply('BADARG calls') end
if ARGV[3] ~= '0' and ARGV[3] ~= '1' then return redis.error_reply('BADARG chargeDenied') end
local plans, admitted = plan_call(limits, 1, terms, 1)
if not plans then
  if admitted then return redis.error_reply(admitted) end
  return {'CLOCK', now_us}
end
if calls > 1 then
  for _, plan in ipairs(plans) do
    if plan.algorithm == CONCURRENCY then return redis.error_reply('BADARG calls') end
  end
end

if not admitted then
  mark_denial(plans, charge_denied)
  for _, plan in ipairs(plans) do plan.mark = held_us(plan) end
  return reply_of('DENIED', 0, plans)
end

local units, fitting = plans[1].units, calls
if calls > 1 then
  for _, plan in ipairs(plans) do
    if plan.enforced then fitting = math.min(fitting, math.floor((plan.capacity - plan.used) / plan.units)) end
  end
end
for index = 1, #plans do plans[index].mark = charge_calls(plans[index], fitting) end
local reply = reply_of('ADMITTED', units, plans)
if fitting == calls then return reply end
reply[1] = 'PART'
table.insert(reply, 4, fitting)
for _, plan in ipairs(plans) do
  plan.operations.read(plan)
  judge(plan)
  plan.mark = 0
  append_limit(reply, plan)
end
return reply
