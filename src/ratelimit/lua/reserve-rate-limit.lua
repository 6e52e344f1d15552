#!lua
--[[
  reserve-rate-limit: check-rate-limit that is remembered, so that it can be tried again, settled and refunded.

  KEYS[1]    reservation  string  <ns>:reservation:{<subject>}:<id>, of the first limit's subject
  KEYS[2..n] limits       hash and string or ZSET  for each limit <ns>:standing:{<subject>} and its record

  ARGV[1] ttlMs         integer  1..86400000, how long it is remembered
  ARGV[2] asked         string   what the call asks for, in any form: another try has the same
  ARGV[3] ownCosts      string   for each limit 0, or 1 where its cost is its own and stays when the rest is settled
  ARGV[4] calls         1
  ARGV[5] minCost       integer  0..64, as check-rate-limit takes it
  ARGV[6] chargeDenied  0 | 1    as check-rate-limit takes it
  ARGV[7..n] limits     as check-rate-limit takes them

  Returns
    {'ADMITTED', now_us, units, …}  charged to every limit, or was by an earlier try, which had that time
    {'DENIED', now_us, 0, …}        not admitted; remembered until it could be, where it left something behind
    {'CLOCK', now_us}               a window of the calendar is not now's; nothing done
    {'OTHER'}                       a call that asked for something else is remembered; nothing done
      and for each limit what check-rate-limit answers

  Atomicity: charge and memory in one step.
  Retry:     safe: answers what the first try did.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/decide.lua"
--- @include "lib/denials.lua"
local reservation, limits, terms = KEYS[1], KEYS, ARGV
local ttl_ms, asked, own_costs, charge_denied = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[6] == '1'
if not ttl_ms or ttl_ms < 1 or ttl_ms > 86400000 then return redis.error_reply('BADARG ttlMs') end
local remembered = redis.call('GET', reservation)
if remembered then
  local memory = cmsgpack.unpack(remembered)
  if memory.asked ~= asked then return {'OTHER'} end
  local reply = memory.reply
  if reply[1] == 'DENIED' then
    local passed_us = now_us - reply[2]
    for at = 7, #reply, LIMIT_REPLIES do reply[at] = math.max(0, reply[at] - passed_us) end
    reply[2] = now_us
  end
  return reply
end
local plans, admitted = plan_call(limits, 2, terms, 4)
if not plans then
  if admitted then return redis.error_reply(admitted) end
  return {'CLOCK', now_us}
end

local reply, charges = nil, {}
if admitted then
  for index, plan in ipairs(plans) do
    plan.mark = charge_calls(plan, 1)
    local at = 6 + LIMIT_ARGS * (index - 1)
    charges[index] = {plan.standing, plan.key, plan.mark, plan.units, unpack(terms, at + 1, at + LIMIT_ARGS)}
  end
  reply = reply_of('ADMITTED', plans[1].units, plans)
else
  mark_denial(plans, charge_denied)
  local wait_us, counts = 0, charge_denied
  for _, plan in ipairs(plans) do
    plan.mark = held_us(plan)
    if plan.enforced then wait_us = math.max(wait_us, plan.retry_after_us) end
    counts = counts or plan.enforced and plan.over > 0 and has_penalty(plan)
  end
  reply = reply_of('DENIED', 0, plans)
  if not counts then return reply end
  ttl_ms = math.max(1, math.min(ttl_ms, math.ceil(wait_us / 1000)))
end
local memory = cmsgpack.pack({asked = asked, reply = reply, charges = charges, own_costs = own_costs})
redis.call('SET', reservation, memory, 'PXAT', decimal(now_ms + ttl_ms))
return reply
