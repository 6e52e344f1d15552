-- TOKEN_BUCKET: the generic cell rate algorithm (ITU-T I.371), as how far what was admitted is ahead of the rate. Numbers
-- are big-endian, offsets count from 0. Needs clock.lua before it.
--
--   0  1  format, 3
--   1  3  0
--   4  4  limit at the last charge
--   8  8  debt, whole µs (IEEE 754): how long until all tokens are back, at the time of the last charge
--  16  8  time of the last charge, µs
--  24  4  debt beyond the whole µs, in parts of 1/limit µs
--  28  8  window at the last charge, µs
--  36  8  no charge of before this time counts as it did then, µs: nothing is taken back for such a one
--  44     what a reader does not know, and a writer keeps
--
-- A unit costs window/limit of debt, and the debt never is more than that of `burst` units. Sums of such fractions are kept
-- as whole numbers, because in floating point they would be off by more with every charge. Exact up to a debt of 2^52 µs,
-- 142 years, and no debt is longer.
--
-- Where limit or window changed, as many units are open as were at the last charge, and come back at the new rate since
-- then; all are back no later than at the old one. Where the clock was set back, the last charge was now: read so at
-- once, and written so with the next charge or denial.
local function token_bucket()
  local TOKENS_FORMAT = 3
  local TOKENS_BYTES = 44
  local TOKENS_LAYOUT = '>I4dI8I4I8I8'
  -- What is multiplied in one piece: a limit (below 2^30) times this is far below 2^53.
  local FACTOR = 1048576
  -- 2^52: with the time of day it stays below 2^53. Policies whose burst needs more are refused.
  local LONGEST_DEBT_US = 4503599627370496

  -- The debt of units: whole µs and parts.
  local function debt_of(plan, units)
    local limit = plan.limit
    local rest = plan.window_us % limit
    if rest == 0 then return units * (plan.window_us / limit), 0 end
    local high = math.floor(units / FACTOR) * rest
    local low = high % limit * FACTOR + units % FACTOR * rest
    local whole = units * math.floor(plan.window_us / limit) + math.floor(high / limit) * FACTOR + math.floor(low / limit)
    return whole, low % limit
  end

  local function is_less(whole, parts, other_whole, other_parts)
    return whole < other_whole or whole == other_whole and parts < other_parts
  end

  -- Sets what follows from the debt.
  local function tell_tokens(plan)
    local debt_us, parts = plan.debt_us, plan.debt_parts
    -- in floating point, so that it may be one off
    local used = math.ceil((debt_us + parts / plan.limit) * plan.limit / plan.window_us)
    local whole, rest = debt_of(plan, used)
    if is_less(whole, rest, debt_us, parts) then
      used = used + 1
    elseif used > 0 then
      whole, rest = debt_of(plan, used - 1)
      if not is_less(whole, rest, debt_us, parts) then used = used - 1 end
    end
    plan.used = used
    plan.reset_at_us = now_us + debt_us + (parts > 0 and 1 or 0)
  end

  local function read_tokens(plan, record)
    plan.debt_us, plan.debt_parts, plan.since_us, plan.kept, plan.is_ahead = 0, 0, now_us, '', false
    record = record or redis.call('GET', plan.key)
    if record and string.byte(record) == TOKENS_FORMAT then
      local limit, debt_us, charged_at, parts, window_us, since_us = struct.unpack(TOKENS_LAYOUT, record, 5)
      plan.kept = string.sub(record, TOKENS_BYTES + 1)
      -- by more than the window: all begins anew
      if charged_at - now_us <= plan.window_us then
        plan.is_ahead = charged_at > now_us
        if plan.is_ahead then since_us = charged_at + 1 end
        if limit ~= plan.limit or window_us ~= plan.window_us then
          since_us = math.max(since_us, now_us)
          local units = (debt_us + parts / limit) * limit / window_us
          debt_us, parts = math.min(math.ceil(units * (plan.window_us / plan.limit)), LONGEST_DEBT_US), 0
        end
        debt_us = debt_us - math.max(0, now_us - charged_at)
        if debt_us >= 0 then plan.debt_us, plan.debt_parts, plan.since_us = debt_us, parts, since_us end
      end
    end
    tell_tokens(plan)
  end

  local function wait_tokens(plan, cost)
    if cost > plan.capacity then return plan.window_us end
    local whole, parts = debt_of(plan, plan.capacity - cost)
    return plan.debt_us - whole + (plan.debt_parts > parts and 1 or 0)
  end

  local function save_tokens(plan)
    tell_tokens(plan)
    local record = struct.pack('>BBI2', TOKENS_FORMAT, 0, 0)
      .. struct.pack(TOKENS_LAYOUT, plan.limit, plan.debt_us, now_us, plan.debt_parts, plan.window_us, plan.since_us)
      .. plan.kept
    redis.call('SET', plan.key, record, 'PXAT', decimal(math.ceil(plan.reset_at_us / 1000)))
  end

  local function add_debt(plan, units)
    local whole, parts = debt_of(plan, units)
    plan.debt_us, plan.debt_parts = plan.debt_us + whole, plan.debt_parts + parts
    if plan.debt_parts >= plan.limit then
      plan.debt_us, plan.debt_parts = plan.debt_us + 1, plan.debt_parts - plan.limit
    end
  end

  -- Charges units and answers when their tokens are all back, rounded down.
  local function charge_tokens(plan, units)
    add_debt(plan, units)
    save_tokens(plan)
    return now_us + plan.debt_us
  end

  -- Writes down that the clock was set back.
  local function keep_tokens_time(plan)
    if plan.is_ahead then save_tokens(plan) end
  end

  local function displace_tokens(plan, units)
    local old_us, old_parts = plan.debt_us, plan.debt_parts
    local most_us, most_parts = debt_of(plan, plan.capacity)
    add_debt(plan, units)
    if is_less(most_us, most_parts, plan.debt_us, plan.debt_parts) then
      plan.debt_us, plan.debt_parts = most_us, most_parts
      -- a limit that was lowered meanwhile: there is more debt than it allows
      if is_less(most_us, most_parts, old_us, old_parts) then plan.debt_us, plan.debt_parts = old_us, old_parts end
    end
    save_tokens(plan)
  end

  -- Takes units back whose tokens would all be back at a time; of them, what is not back yet. Had they not been charged the
  -- debt would be less by at least so much. That is sure only under the limit they were charged under, which is the one of
  -- the last charge, and need not be the policy's.
  local function refund_tokens(plan, charged_us, back_at_us, charged, kept)
    local units = charged - kept
    local record = redis.call('GET', plan.key)
    if not record or string.byte(record) ~= TOKENS_FORMAT then return 0 end
    plan.limit, plan.window_us = struct.unpack('>I4', record, 5), struct.unpack('>I8', record, 29)
    read_tokens(plan, record)
    if charged_us < plan.since_us then return 0 end
    local open_us, open_parts = debt_of(plan, units)
    local refunded = units
    local left_us = math.max(0, back_at_us - now_us)
    if is_less(left_us, 0, open_us, open_parts) then open_us, open_parts, refunded = left_us, 0, nil end
    if is_less(plan.debt_us, plan.debt_parts, open_us, open_parts) then
      open_us, open_parts, refunded = plan.debt_us, plan.debt_parts, nil
    end
    if open_us == 0 and open_parts == 0 then return 0 end
    plan.debt_us, plan.debt_parts = plan.debt_us - open_us, plan.debt_parts - open_parts
    if plan.debt_parts < 0 then plan.debt_us, plan.debt_parts = plan.debt_us - 1, plan.debt_parts + plan.limit end
    if plan.debt_us == 0 and plan.debt_parts == 0 then redis.call('DEL', plan.key) else save_tokens(plan) end
    return refunded or math.floor(open_us * plan.limit / plan.window_us)
  end

  return {
    read = read_tokens,
    wait = wait_tokens,
    charge = charge_tokens,
    displace = displace_tokens,
    refund = refund_tokens,
    keep_time = keep_tokens_time,
  }
end
