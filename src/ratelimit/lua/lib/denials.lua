-- What a denied call leads to. Needs decide.lua before it.

-- Whether a denial by this limit leads to more.
local function has_penalty(plan)
  return plan.terms and (plan.terms.block_ms or plan.terms.ban_ladder_ms) and true or false
end

-- What a denied call leaves behind where its caller or a policy wants that; mostly nothing.
local function mark_denial(plans, charge_denied)
  -- Bans of before the clock was set back begin now.
  local function restart_bans(plan)
    if not plan.denied_until_us then return end
    for _, field in ipairs({'ban', 'ban:' .. plan.policy, 'block:' .. plan.policy}) do
      local value = redis.call('HGET', plan.standing, field)
      local fields = value and cmsgpack.unpack(value)
      if fields and fields[1] > now_us + fields[2] then
        fields[1] = now_us + fields[2]
        redis.call('HSET', plan.standing, field, cmsgpack.pack(fields))
      end
    end
  end

  -- What a denial leads to under a policy with a ladder: after so many of them a ban, each step longer than the last. A step
  -- is forgotten for each time of decay without a ban.
  local function climb_ladder(plan, terms)
    local field = 'count:' .. plan.policy
    local value = redis.call('HGET', plan.standing, field)
    local denials, since, step, at = unpack(value and cmsgpack.unpack(value) or {0, now_us, 0, now_us})
    if since + terms.ban_within_ms * 1000 <= now_us or since > now_us then denials, since = 0, now_us end
    denials = denials + 1
    local forget_at = math.max(since + terms.ban_within_ms * 1000, at + step * terms.ban_decay_ms * 1000)
    if denials >= terms.ban_after then
      local decayed = math.floor(math.max(0, now_us - at) / (terms.ban_decay_ms * 1000))
      step = math.min(math.max(0, step - decayed) + 1, #terms.ban_ladder_ms)
      local longest = terms.ban_ladder_ms[step] * 1000
      local until_us = now_us + longest
      save_standing(plan.standing, 'ban:' .. plan.policy, {until_us, longest, '', step}, until_us)
      plan.denied_until_us, plan.denied_by = until_us, BANNED
      denials, since, at = 0, now_us, until_us
      forget_at = until_us + step * terms.ban_decay_ms * 1000
    end
    save_standing(plan.standing, field, {denials, since, step, at}, forget_at)
  end

  -- What a denial by this limit leads to, where its policy says so.
  local function punish(plan)
    local terms = plan.terms
    if plan.denied_until_us or not terms then return end
    if terms.block_ms then
      local longest = terms.block_ms * 1000
      save_standing(plan.standing, 'block:' .. plan.policy, {now_us + longest, longest}, now_us + longest)
      plan.denied_until_us, plan.denied_by = now_us + longest, BLOCKED
    end
    if terms.ban_ladder_ms then climb_ladder(plan, terms) end
  end

  for _, plan in ipairs(plans) do
    local is_denier = plan.enforced and plan.over > 0
    if charge_denied and not plan.denied_until_us then
      plan.operations.displace(plan, plan.units)
    else
      plan.operations.keep_time(plan)
    end
    if is_denier then
      restart_bans(plan)
      punish(plan)
    end
    if charge_denied or is_denier and plan.terms then
      plan.operations.read(plan)
      judge(plan)
    end
  end
end
