-- Limits of a call, planned before any is charged. Needs clock.lua before it.
--- @include "sliding-exact.lua"
--- @include "sliding-buckets.lua"
--- @include "token-bucket.lua"
--- @include "fixed-window.lua"
--- @include "concurrency.lua"
--- @include "standing.lua"

-- By their numbers. An algorithm is made when a call needs it: Redis runs a script from its beginning each time, and each
-- function that it defines costs as much as a small command.
local ALGORITHMS = {sliding_exact, sliding_buckets, token_bucket, fixed_window, fixed_window, concurrency}
local CONCURRENCY = 6
local made = {}

-- What an algorithm does with the plan of a limit:
--
--   read(plan)                                    sets how much is in use
--   wait(plan, cost)                              how long until so many units fit that do not now, if nothing else is
--                                                 charged, in µs
--   charge(plan, units)                           charges units that fit; answers what names them for refund, its mark
--   displace(plan, units)                         charges units of a denied call as far as there is room for them, in place
--                                                 of the oldest
--   refund(plan, charged_us, mark, charged, kept) leaves `kept` of the units charged under a mark at a time; answers how
--                                                 many were taken back
--   keep_time(plan)                               writes down that the clock was set back, where it was: or a denied call
--                                                 would have to wait until it has caught up, too
--   window_of(record)                             of some: how long the window is that a record was written under, in µs
local function operations_of(algorithm)
  local operations = made[algorithm]
  if not operations then
    operations = ALGORITHMS[algorithm]()
    made[algorithm] = operations
  end
  return operations
end

-- What of ARGV is for the call, and for each limit.
local CALL_ARGS, LIMIT_ARGS = 3, 6
-- What of a reply is for each limit.
local LIMIT_REPLIES = 6
-- A month of 31 days in which clocks are put back is longer than 31 days.
local LARGEST_LIMIT, LARGEST_WINDOW_MS = 1000000000, 2764800000
-- More than any limit has, so that what asks for more than that can be told so.
local LARGEST_COST = LARGEST_LIMIT + 1

-- The terms of the limit whose arguments begin behind `at`: algorithm, limit, window in ms, cost, name of the policy in the
-- standing, and the rest in JSON or nothing.
local function limit_plan(standing, key, args, at)
  local algorithm, limit, window_ms = tonumber(args[at + 1]), tonumber(args[at + 2]), tonumber(args[at + 3])
  local cost, policy, packed = tonumber(args[at + 4]), args[at + 5], args[at + 6]
  if not ALGORITHMS[algorithm or 0] then return nil end
  if not limit or limit < 1 or limit > LARGEST_LIMIT then return nil end
  if not window_ms or window_ms < 1 or window_ms > LARGEST_WINDOW_MS then return nil end
  if not cost or cost < 1 or cost > LARGEST_COST or not policy or not packed then return nil end
  local terms = packed ~= '' and cjson.decode(packed) or nil
  local plan = {
    standing = standing,
    key = key,
    algorithm = algorithm,
    operations = operations_of(algorithm),
    limit = limit,
    capacity = terms and terms.burst or limit,
    window_us = window_ms * 1000,
    cost = cost,
    policy = policy,
    terms = terms,
    enforced = not (terms and terms.shadow),
    -- room for what is set later: a table that grows costs more than the rest of it
    over = 0, used = 0, units = 0, asked = 0, retry_after_us = 0, reset_at_us = 0, mark = 0,
    denied_by = 0, since_us = 0, is_ahead = false, kept = '',
  }
  if terms then
    plan.holder = terms.holder
    if terms.from_ms then plan.from_us, plan.until_us = terms.from_ms * 1000, terms.until_ms * 1000 end
  end
  return plan
end

-- Whether the windows of the calendar that the caller thinks to be in are those of Redis's clock.
local function is_in_window(plan)
  return not plan.from_us or now_us >= plan.from_us and now_us < plan.until_us
end

-- Sets whether the limit denies what is asked of it, and until when.
local function judge(plan)
  local units = plan.asked
  plan.over = plan.denied_by
  plan.retry_after_us = plan.denied_until_us and plan.denied_until_us - now_us or 0
  if plan.used + units > plan.capacity then
    plan.over = math.max(plan.over, BLOCKED)
    local wait_us = plan.operations.wait(plan, units)
    -- under the limit that holds again then it may be admitted
    if plan.lowered_until_us then wait_us = math.min(wait_us, plan.lowered_until_us - now_us) end
    plan.retry_after_us = math.max(plan.retry_after_us, wait_us)
  end
end

-- Plans the limits of a call: KEYS from `first` on are standing and record of each. Answers plans and units granted, none
-- when the call is denied; or nil and an error. `min_cost` 0: all or nothing.
local function plan_call(redis_keys, first, args, args_first)
  local min_cost = tonumber(args[args_first + 1])
  if not min_cost or min_cost < 0 or min_cost > 64 then return nil, 'BADARG minCost' end
  local plans, free = {}, 64
  local count = (#redis_keys - first + 1) / 2
  for index = 1, count do
    local standing, key = redis_keys[first + 2 * index - 2], redis_keys[first + 2 * index - 1]
    local plan = limit_plan(standing, key, args, args_first + CALL_ARGS - 1 + LIMIT_ARGS * (index - 1))
    if not plan then return nil, 'BADARG limits' end
    if not is_in_window(plan) then return nil, nil end
    read_standing(plan)
    plan.operations.read(plan)
    if plan.enforced then free = plan.denied_until_us and 0 or math.min(free, plan.capacity - plan.used) end
    plans[index] = plan
  end
  local granted = nil
  if min_cost > 0 then granted = math.min(plans[1].cost, free) end
  if granted and granted < min_cost then granted = nil end
  local denied = false
  for index = 1, count do
    local plan = plans[index]
    plan.units = granted or plan.cost
    plan.asked = min_cost > 0 and not granted and min_cost or plan.units
    judge(plan)
    denied = denied or plan.over > 0 and plan.enforced
  end
  return plans, not denied
end

-- How long a limit denies whatever is left, and counts no denials: by a block or a ban, in µs.
local function held_us(plan)
  return plan.denied_until_us and plan.denied_until_us - now_us or 0
end

-- What a reply says of a limit: over (1, by a ban 2, by one that people set 3), used, capacity, retry_after_us, reset_at_us,
-- mark. `mark` names the charge for a refund, 0 where nothing was charged; of a denied call it is held_us.
local function append_limit(reply, plan)
  local at = #reply
  reply[at + 1] = plan.over
  reply[at + 2] = plan.used
  reply[at + 3] = plan.capacity
  reply[at + 4] = plan.retry_after_us
  reply[at + 5] = plan.reset_at_us
  reply[at + 6] = plan.mark
end

-- A reply with all limits.
local function reply_of(status, units, plans)
  local first = plans[1]
  -- of one limit, as most are, made at once: a table that grows costs more than the rest of it
  local reply = {
    status, now_us, units,
    first.over, first.used, first.capacity, first.retry_after_us, first.reset_at_us, first.mark,
  }
  for index = 2, #plans do append_limit(reply, plans[index]) end
  return reply
end

-- Charges so many calls of an admitted plan: one that only watches as far as there is room.
local function charge_calls(plan, calls)
  if not plan.enforced then calls = math.max(0, math.min(calls, math.floor((plan.capacity - plan.used) / plan.units))) end
  if calls == 0 or plan.denied_until_us then return 0 end
  return plan.operations.charge(plan, calls * plan.units)
end
