-- CONCURRENCY: a ZSET of slots, `<holder>:<n>:<window in ms>` scored by when the lease of the slot is over, in ms. Needs
-- clock.lua before it.
-- A bound of a range that is not in it.
local function concurrency()
  local function above(score)
    return '(' .. score
  end

  local function window_ms_of(plan)
    return math.ceil(plan.window_us / 1000)
  end

  -- The window is part of it because the policy may have another one when the slot is looked at.
  local function slot_name(plan, n)
    return plan.holder .. ':' .. n .. ':' .. decimal(window_ms_of(plan))
  end

  -- No lease of a window begins further away: that one is of a time before the clock was set back, or nobody's.
  local function last_lease_ms(window_ms)
    return now_ms + 2 * window_ms
  end

  -- Of the slots that are further away than this window explains: when those of a longer window are over, in order, and the
  -- names of the others, which count for nothing.
  local function far_slots(plan)
    local last = above(decimal(last_lease_ms(window_ms_of(plan))))
    local slots = redis.call('ZRANGE', plan.key, last, '+inf', 'BYSCORE', 'WITHSCORES')
    local over, dead = {}, {}
    for at = 1, #slots, 2 do
      local window_ms, over_ms = tonumber(string.match(slots[at], ':(%d+)$')), tonumber(slots[at + 1])
      if window_ms and over_ms <= last_lease_ms(window_ms) then over[#over + 1] = over_ms
      else dead[#dead + 1] = slots[at] end
    end
    return over, dead
  end

  local function read_slots(plan)
    plan.used = redis.call('ZCOUNT', plan.key, above(decimal(now_ms)), '+inf')
    plan.reset_at_us = now_us
    plan.far, plan.dead = {}, {}
    if plan.used == 0 then return end
    local last_ms = tonumber(redis.call('ZRANGE', plan.key, '-1', '-1', 'WITHSCORES')[2])
    local last_near_ms = last_lease_ms(window_ms_of(plan))
    if last_ms > last_near_ms then
      plan.far, plan.dead = far_slots(plan)
      plan.used = plan.used - #plan.dead
      last_ms = plan.far[#plan.far]
      if not last_ms and plan.used > 0 then
        local near = redis.call(
          'ZRANGE', plan.key, decimal(last_near_ms), '-inf', 'BYSCORE', 'REV', 'LIMIT', '0', '1', 'WITHSCORES'
        )
        last_ms = tonumber(near[2])
      end
    end
    if last_ms then plan.reset_at_us = last_ms * 1000 end
  end

  -- Until so many leases are over that `cost` slots are free.
  local function wait_slots(plan, cost)
    if cost > plan.capacity then return plan.window_us end
    local rank = plan.used - (plan.capacity - cost) - 1
    local near = plan.used - #plan.far
    if rank >= near then return plan.far[rank - near + 1] * 1000 - now_us end
    local slot = redis.call(
      'ZRANGE', plan.key, above(decimal(now_ms)), '+inf', 'BYSCORE', 'LIMIT', decimal(rank), '1', 'WITHSCORES'
    )
    return tonumber(slot[2]) * 1000 - now_us
  end

  -- Takes slots for a holder, behind those it has; answers until when, in ms.
  local function charge_slots(plan, units)
    local held = plan.held or 0
    redis.call('ZREMRANGEBYSCORE', plan.key, '-inf', decimal(now_ms))
    for _, slot in ipairs(plan.dead) do redis.call('ZREM', plan.key, slot) end
    local lease_ms = window_ms_of(plan)
    if plan.terms.lease_ms then lease_ms = math.min(lease_ms, plan.terms.lease_ms) end
    local until_ms = now_ms + lease_ms
    for n = held + 1, held + units do redis.call('ZADD', plan.key, decimal(until_ms), slot_name(plan, n)) end
    redis.call('PEXPIREAT', plan.key, decimal(math.max(until_ms, redis.call('PEXPIRETIME', plan.key))))
    plan.used = plan.used + units
    plan.reset_at_us = math.max(plan.reset_at_us, until_ms * 1000)
    return until_ms
  end

  -- Gives slots of a holder back, behind those that are kept: they have names of their own.
  local function refund_slots(plan, _, _, charged, kept)
    local refunded = 0
    for n = kept + 1, charged do refunded = refunded + redis.call('ZREM', plan.key, slot_name(plan, n)) end
    return refunded
  end

  -- Neither a denied call nor a clock that was set back changes what is held.
  local function keep_slots()
  end

  -- Renews the slots of a holder that are there; answers how many.
  local function renew_slots(plan, units)
    local until_ms = now_ms + window_ms_of(plan)
    local renewed = 0
    for n = 1, units do
      local slot = slot_name(plan, n)
      local over_ms = tonumber(redis.call('ZSCORE', plan.key, slot) or 0)
      if over_ms > now_ms then
        redis.call('ZADD', plan.key, decimal(until_ms), slot)
        renewed = renewed + 1
      end
    end
    if renewed > 0 then redis.call('PEXPIREAT', plan.key, decimal(until_ms), 'GT') end
    return renewed
  end

  return {
    read = read_slots,
    wait = wait_slots,
    charge = charge_slots,
    displace = keep_slots,
    refund = refund_slots,
    keep_time = keep_slots,
    renew = renew_slots,
  }
end
