-- FIXED and CALENDAR: how many units were admitted in one window. Numbers are big-endian, offsets count from 0. Needs
-- clock.lua before it.
--
--   0  1  format, 4 for FIXED, 5 for CALENDAR
--   1  3  0
--   4  4  units
--   8  8  when the window began, µs
--  16  8  when it ends, µs
--  24  8  no charge of before this time is in the record, µs: nothing is taken back for such a one
--  32     what a reader does not know, and a writer keeps
--
-- A window of FIXED begins with the first unit charged; where one of CALENDAR does is said by the caller, who knows time
-- zones. Where the clock was set back to before a window of FIXED, that begins now: read so at once, and written so with
-- the next charge or denial. In a window of CALENDAR time stands still until the clock is in it again.
local function fixed_window()
  local FIXED_FORMAT = 4
  local CALENDAR_FORMAT = 5
  local WINDOW_BYTES = 32
  local UNITS_AT = '4'

  -- Sets the window of the record, where that still counts.
  local function resume_fixed(plan, count, began_us, since_us)
    plan.is_ahead = began_us > now_us
    if plan.is_ahead then began_us, since_us = now_us, began_us + plan.window_us end
    local ends_us = began_us + plan.window_us
    if ends_us <= now_us then return end
    plan.used, plan.began_us, plan.ends_us, plan.since_us = count, began_us, ends_us, since_us
  end

  local function resume_calendar(plan, count, began_us, ends_us, since_us)
    -- of a window before; or of one that is only to come
    if began_us < plan.from_us then return end
    plan.used, plan.since_us = count, since_us
    if began_us >= plan.until_us then plan.began_us, plan.ends_us = began_us, ends_us end
  end

  local function read_window(plan)
    local is_calendar = plan.algorithm == CALENDAR_FORMAT
    plan.used, plan.since_us, plan.kept, plan.is_ahead, plan.is_there = 0, now_us, '', false, false
    plan.began_us = is_calendar and plan.from_us or now_us
    plan.ends_us = is_calendar and plan.until_us or now_us + plan.window_us
    local record = redis.call('GET', plan.key)
    if record and string.byte(record) == plan.algorithm then
      local count, began_us, ends_us, since_us = struct.unpack('>I4I8I8I8', record, 5)
      plan.kept = string.sub(record, WINDOW_BYTES + 1)
      -- by more than a window: all begins anew
      if began_us - now_us <= plan.ends_us - plan.began_us then
        if is_calendar then
          resume_calendar(plan, count, began_us, ends_us, since_us)
        else
          resume_fixed(plan, count, began_us, since_us)
        end
        plan.is_there = plan.began_us == began_us and plan.ends_us == ends_us
      end
    end
    plan.reset_at_us = plan.used > 0 and plan.ends_us or now_us
  end

  local function wait_window(plan)
    return plan.ends_us - now_us
  end

  local function save_window(plan)
    plan.reset_at_us = plan.ends_us
    -- in a window that is there already only the units are other ones
    if plan.is_there then
      redis.call('SETRANGE', plan.key, UNITS_AT, struct.pack('>I4', plan.used))
      return
    end
    local record = struct.pack(
      '>BBI2I4I8I8I8', plan.algorithm, 0, 0, plan.used, plan.began_us, plan.ends_us, plan.since_us
    ) .. plan.kept
    redis.call('SET', plan.key, record, 'PXAT', decimal(math.ceil(plan.ends_us / 1000)))
  end

  -- Charges units and answers when their window began.
  local function charge_window(plan, units)
    plan.used = plan.used + units
    save_window(plan)
    return plan.began_us
  end

  -- Writes down that the clock was set back.
  local function keep_window_time(plan)
    if plan.is_ahead then save_window(plan) end
  end

  local function displace_window(plan, units)
    return charge_window(plan, math.max(0, math.min(units, plan.capacity - plan.used)))
  end

  -- Takes units back that were charged in the window that began then.
  local function refund_window(plan, charged_us, began_us, charged, kept)
    local units = charged - kept
    read_window(plan)
    local is_there = plan.began_us == began_us and charged_us >= plan.since_us
    local refunded = is_there and math.min(units, plan.used) or 0
    if refunded == 0 then return 0 end
    plan.used = plan.used - refunded
    if plan.used == 0 then redis.call('DEL', plan.key) else save_window(plan) end
    return refunded
  end

  local function window_of_record(record)
    local began_us, ends_us = struct.unpack('>I8I8', record, 9)
    return ends_us - began_us
  end

  return {
    read = read_window,
    wait = wait_window,
    charge = charge_window,
    displace = displace_window,
    refund = refund_window,
    keep_time = keep_window_time,
    window_of = window_of_record,
  }
end
