#!lua flags=allow-oom
--[[
  settle-rate-limit: make the charge of a reservation what was used, or take it back.

  KEYS[1] reservation  string  <ns>:reservation:{<subject>}:<id>; it names records in its own slot, and standings

  ARGV[1] cost      integer  0..64, units that were used
  ARGV[2] isRefund  0 | 1    whether nothing was: limits with a cost of their own are given back too
  ARGV[3] channel   string   where services are told of what was taken back; in the same slot

  Returns
    {'SETTLED', units, standing, …}  what the charge is now, or was made by an earlier try; and the standings of subjects
                                     something was taken back of
    {'REFUNDED', 0, standing, …}     it is taken back, or was by an earlier try
    {'NOT_FOUND'}                    there is no such reservation, or no more

  Atomicity: all limits in one step; units beyond the reservation only as far as every limit has room.
  Retry:     safe: answers what the first try did, whether that settled or refunded.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/decide.lua"
-- Whether the record is of this algorithm: it may be another's since the policy was changed. A longer window that it got
-- goes on.
local function meet_record(plan)
  local head = plan.algorithm ~= CONCURRENCY and redis.call('GETRANGE', plan.key, '0', '23') or ''
  if head == '' then return true end
  if string.byte(head) ~= plan.algorithm then return false end
  local window_of = plan.operations.window_of
  if window_of then plan.window_us = math.max(plan.window_us, window_of(head)) end
  return true
end

local reservation = KEYS[1]
local cost, is_refund, channel = tonumber(ARGV[1]), ARGV[2] == '1', ARGV[3]
if not cost or cost < 0 or cost > 64 then return redis.error_reply('BADARG cost') end
if ARGV[2] ~= '0' and ARGV[2] ~= '1' then return redis.error_reply('BADARG isRefund') end
local remembered = redis.call('GET', reservation)
local memory = remembered and cmsgpack.unpack(remembered)
-- a denial is remembered too
if not memory or #memory.charges == 0 then return {'NOT_FOUND'} end
if memory.ended then return memory.ended end

-- the extra slots of a holder are held no longer than the reserved ones
local left_ms = redis.call('PTTL', reservation)
local plans, extra, reserved, told = {}, cost, nil, {}
for index, charge in ipairs(memory.charges) do
  local plan = limit_plan(charge[1], charge[2], charge, 4)
  if not plan then return redis.error_reply('BADARG reservation') end
  plan.mark, plan.units = charge[3], charge[4]
  local is_own = string.sub(memory.own_costs, index, index) == '1'
  if not is_own then reserved = plan.units end
  -- one that only watches may have been full
  if plan.mark > 0 and (is_refund or not is_own) then
    read_standing(plan)
    local is_ours = meet_record(plan)
    plan.operations.read(plan)
    plan.room = is_ours and is_in_window(plan) and math.max(0, plan.capacity - plan.used) or 0
    if plan.algorithm == CONCURRENCY then
      plan.held = plan.units
      plan.terms.lease_ms = left_ms
    end
    extra = math.min(extra, math.max(0, cost - plan.units))
    if plan.enforced then extra = math.min(extra, plan.room) end
    plans[#plans + 1] = plan
  end
end
for _, plan in ipairs(plans) do
  if cost < plan.units then
    local refunded = plan.operations.refund(plan, memory.reply[2], plan.mark, plan.units, cost)
    if refunded > 0 then told[#told + 1] = plan.standing end
  elseif math.min(extra, plan.room) > 0 then
    plan.operations.charge(plan, math.min(extra, plan.room))
  end
end
local ended = {'SETTLED', reserved and math.min(cost, reserved + extra) or 0}
if is_refund then ended = {'REFUNDED', 0} end
memory.ended = ended
redis.call('SET', reservation, cmsgpack.pack(memory), 'KEEPTTL')
for _, standing in ipairs(told) do redis.call('SPUBLISH', channel, standing) end
return {ended[1], ended[2], unpack(told)}
