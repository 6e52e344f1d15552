-- SLIDING_BUCKETS: how many units were admitted in each part of the window. Numbers are big-endian, offsets count from 0.
-- Needs clock.lua before it.
--
--   0  1  format, 2
--   1  1  H, where the counts begin: a reader skips what it does not know between 32 and H, a writer keeps it
--   2  1  bytes of a count: as many as the largest one needs
--   3  5  0
--   8  8  width of a part, µs
--  16  8  index of the newest part: part i is the time from i·width to before (i+1)·width
--  24  8  no charge of before this time is in the record, µs: nothing is taken back for such a one
--   H     61 counts, oldest first
--
-- A part counts in full until nothing in it can be within the window: the newest, and the 60 before it. So no window ever
-- has more than the limit. With w = ⌈window/60⌉ µs, a unit counts for more than 60·w, which is the window or up to 59 µs
-- more, and for 61·w at most. Of a record with another width, units count as if they had come at the end of their part:
-- for up to another w. What is of no more use to a shorter window is forgotten.
--
-- Where the clock was set back, all parts were so much earlier that the newest is now's: read so at once, and written so
-- with the next charge or denial.
local function sliding_buckets()
  local BUCKETS_FORMAT = 2
  local BUCKETS_HEADER_BYTES = 32
  local PARTS_IN_WINDOW = 60
  local BUCKETS = PARTS_IN_WINDOW + 1

  local layouts = {}

  local function counts_layout(bytes)
    local layout = layouts[bytes]
    if not layout then
      layout = '>' .. string.rep('I' .. bytes, BUCKETS)
      layouts[bytes] = layout
    end
    return layout
  end

  -- How many bytes a count up to this needs.
  local function count_bytes(most)
    return most < 256 and 1 or most < 65536 and 2 or most < 16777216 and 3 or 4
  end

  -- The counts of a record of another width: each unit in the part of the latest time that it can have come at.
  local function spread(old_counts, old_newest, old_width, width, newest)
    local counts = {}
    for at = 1, BUCKETS do counts[at] = 0 end
    for at = 1, BUCKETS do
      local part = math.floor(((old_newest - BUCKETS + at + 1) * old_width - 1) / width)
      local place = math.min(BUCKETS, part - newest + BUCKETS)
      if place >= 1 then counts[place] = counts[place] + old_counts[at] end
    end
    return counts
  end

  local function read_buckets(plan)
    local width = math.ceil(plan.window_us / PARTS_IN_WINDOW)
    local newest = math.floor(now_us / width)
    -- what is to be known to count one more in the newest part of the record as it is
    plan.counted_bytes, plan.header_bytes = nil, BUCKETS_HEADER_BYTES
    plan.kept, plan.since_us, plan.is_ahead = '', now_us, false
    plan.width, plan.newest, plan.counts = width, newest, nil
    local record = redis.call('GET', plan.key)
    if record and string.byte(record) == BUCKETS_FORMAT then
      local header_bytes, bytes = string.byte(record, 2, 3)
      if header_bytes > BUCKETS_HEADER_BYTES then
        plan.header_bytes, plan.kept = header_bytes, string.sub(record, BUCKETS_HEADER_BYTES + 1, header_bytes)
      end
      local old_width, old_newest, since_us = struct.unpack('>I8I8I8', record, 9)
      local ahead = math.max(0, math.floor(old_newest * old_width / width) - newest)
      -- by more than the window: all begins anew
      if ahead * width <= plan.window_us then
        plan.since_us, plan.is_ahead = since_us, ahead > 0
        if ahead > 0 then plan.since_us = (old_newest + 1) * old_width end
        local counts = {struct.unpack(counts_layout(bytes), record, header_bytes + 1)}
        -- struct also answers where it stopped
        counts[BUCKETS + 1] = nil
        if old_width ~= width then
          counts = spread(counts, old_newest, old_width, width, newest + ahead)
        elseif ahead == 0 and old_newest == newest then
          plan.counted_bytes = bytes
        elseif ahead == 0 then
          local parts = newest - old_newest
          for at = 1, BUCKETS do counts[at] = counts[at + parts] or 0 end
        end
        plan.counts = counts
      end
    end
    local counts, used, last = plan.counts, 0, 0
    if not counts then
      counts = {}
      for at = 1, BUCKETS do counts[at] = 0 end
      plan.counts = counts
    end
    for at = 1, BUCKETS do
      local count = counts[at]
      if count > 0 then used, last = used + count, at end
    end
    plan.used = used
    plan.reset_at_us = used > 0 and (newest + last) * width or now_us
  end

  local function wait_buckets(plan, cost)
    if cost > plan.capacity then return plan.window_us end
    local left = plan.used
    for at = 1, BUCKETS do
      left = left - plan.counts[at]
      if left + cost <= plan.capacity then return (plan.newest + at) * plan.width - now_us end
    end
    return plan.window_us
  end

  local function save_buckets(plan)
    local bytes = count_bytes(math.max(unpack(plan.counts)))
    local header = struct.pack(
      '>BBBBI4I8I8I8', BUCKETS_FORMAT, plan.header_bytes, bytes, 0, 0, plan.width, plan.newest, plan.since_us
    )
    local record = header .. plan.kept .. struct.pack(counts_layout(bytes), unpack(plan.counts))
    local expires_at = math.ceil((plan.newest + BUCKETS) * plan.width / 1000)
    redis.call('SET', plan.key, record, 'PXAT', decimal(expires_at))
  end

  -- Charges units and answers when their part begins, which names it.
  local function charge_buckets(plan, units)
    local count, bytes = plan.counts[BUCKETS] + units, plan.counted_bytes
    plan.counts[BUCKETS] = count
    plan.used = plan.used + units
    plan.reset_at_us = (plan.newest + BUCKETS) * plan.width
    if bytes and bytes >= count_bytes(count) then
      local at = plan.header_bytes + PARTS_IN_WINDOW * bytes
      redis.call('SETRANGE', plan.key, decimal(at), struct.pack('>I' .. bytes, count))
    else
      save_buckets(plan)
    end
    return plan.newest * plan.width
  end

  -- Writes down that the clock was set back.
  local function keep_buckets_time(plan)
    if plan.is_ahead then save_buckets(plan) end
  end

  -- Charges units whether or not they fit: as many of the oldest count no more then; never fewer than before.
  local function displace_buckets(plan, units)
    units = math.min(units, plan.capacity)
    local surplus = math.min(units, math.max(0, plan.used + units - plan.capacity))
    if surplus > 0 then plan.counted_bytes = nil end
    for at = 1, BUCKETS do
      local taken = math.min(surplus, plan.counts[at])
      plan.counts[at] = plan.counts[at] - taken
      plan.used = plan.used - taken
      surplus = surplus - taken
    end
    return charge_buckets(plan, units)
  end

  -- Takes units back that were charged in the part that began then, as far as they are there.
  local function refund_buckets(plan, charged_us, began_us, charged, kept)
    local units = charged - kept
    read_buckets(plan)
    if charged_us < plan.since_us then return 0 end
    local at = math.floor(began_us / plan.width) - plan.newest + BUCKETS
    local refunded = math.min(units, plan.counts[at] or 0)
    if refunded == 0 then return 0 end
    plan.counts[at] = plan.counts[at] - refunded
    if plan.used == refunded then redis.call('DEL', plan.key) else save_buckets(plan) end
    return refunded
  end

  local function window_of_buckets(record)
    return struct.unpack('>I8', record, 9) * PARTS_IN_WINDOW
  end

  return {
    read = read_buckets,
    wait = wait_buckets,
    charge = charge_buckets,
    displace = displace_buckets,
    refund = refund_buckets,
    keep_time = keep_buckets_time,
    window_of = window_of_buckets,
  }
end
