-- How a subject stands: a hash with what was decided about it by people and by its denials. Needs clock.lua before it. Each
-- value is an array in MessagePack; times are µs.
--
--   ban            {until, longest, reason}        under all policies
--   ban:<policy>   {until, longest, reason, step}  by Ban (step 0) or by the policy's ladder
--   block:<policy> {until, longest}                after a denial
--   limit:<policy> {limit, until}                  instead of the policy's
--   count:<policy> {denials, since, step, at}      on the way to the next step of the ladder; `at`: of the last one's end
--
-- No ban lasts longer than `longest` from now. Where more seems left the clock was set back: the next denial writes down
-- that the ban began then, or it would not end before the clock has caught up.
local BLOCKED, BANNED, BANNED_BY_PEOPLE = 1, 2, 3

-- Until when what a value says holds, if it still does, and the step of a ban.
local function open_until(value)
  if not value then return nil end
  local fields = cmsgpack.unpack(value)
  local until_us = math.min(fields[1], now_us + fields[2])
  return until_us > now_us and until_us or nil, fields[4]
end

-- Sets what is to be denied whatever is left, and the limit of this subject. What people ban is denied also by a limit that
-- only watches.
local function read_standing(plan)
  plan.denied_until_us, plan.denied_by, plan.lowered_until_us = nil, 0, nil
  if redis.call('EXISTS', plan.standing) == 0 then return end
  local policy = plan.policy
  local found = redis.call('HMGET', plan.standing, 'ban', 'ban:' .. policy, 'block:' .. policy, 'limit:' .. policy)
  local by_policy, step = open_until(found[2])
  local banned = math.max(open_until(found[1]) or 0, by_policy or 0)
  local blocked = open_until(found[3]) or 0
  if math.max(banned, blocked) > 0 then
    plan.denied_until_us = math.max(banned, blocked)
    plan.denied_by = banned > 0 and BANNED or BLOCKED
    if found[1] and open_until(found[1]) or step == 0 then
      plan.denied_by, plan.enforced = BANNED_BY_PEOPLE, true
    end
  end
  local limit = found[4] and cmsgpack.unpack(found[4])
  if limit and limit[2] > now_us then
    if limit[1] < plan.limit then plan.lowered_until_us = limit[2] end
    -- a burst that is given stays
    if not (plan.terms and plan.terms.burst) then plan.capacity = limit[1] end
    plan.limit = limit[1]
  end
end

local function save_standing(standing, field, fields, until_us)
  redis.call('HSET', standing, field, cmsgpack.pack(fields))
  local expires_at = math.max(math.ceil(until_us / 1000), redis.call('PEXPIRETIME', standing))
  redis.call('PEXPIREAT', standing, decimal(expires_at))
end
