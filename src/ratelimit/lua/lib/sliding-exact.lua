-- SLIDING_EXACT: a ring of the times at which units were admitted. Numbers are big-endian, offsets count
-- from 0. Needs clock.lua before it.
--
--   0  1  format, 1
--   1  1  H, where the ring begins: a reader skips what it does not know between 8 and H, a writer keeps it
--   2  2  head, the slot of the next unit
--   4  2  stored, how many of the newest units the ring holds
--   6  2  0
--   H     slots of 8 bytes: when the unit was admitted, µs
--
-- A unit admitted at t counts while now < t + window. The ring holds only units that may still count: it grows by a
-- quarter, up to the limit, when it would have to overwrite one. It is written whole then, because Redis doubles a string
-- that grows by itself (14 KB instead of 8 for 1,000 units).
--
-- The units of one admission share a time that no other admission of the key has, so that time and cost name it.
--
-- Where the clock was set back, all units came so much earlier than their slots say that the newest came now: read so at
-- once, and written so with the next charge or denial.
local function sliding_exact()
  local RING_FORMAT = 1
  local RING_HEADER_BYTES = 8
  -- RING_FORMAT, RING_HEADER_BYTES and zeros.
  local NEW_RING_HEADER = '\1\8\0\0\0\0\0\0'
  local COUNTERS_AT = 2
  local SLOT_BYTES = 8
  local EMPTY_SLOT = '\0\0\0\0\0\0\0\0'
  local SMALLEST_RING = 4
  -- A newest unit so far ahead is one of several in a µs, and of no clock that was set back.
  local AHEAD_US = 1000
  local LINGER_MS = 1000

  -- Most rings fit, 64 units, and are then read whole: a command for each slot would cost several times as much, and so
  -- would its numbers, which is why these are text.
  local RING_LOOK_BYTES = 520
  local RING_LOOK_FROM, RING_LOOK_TO = '0', '519'

  local function read_ring(key)
    local look = redis.call('GETRANGE', key, RING_LOOK_FROM, RING_LOOK_TO)
    -- what another algorithm counted under this policy before is of no use
    if string.byte(look) ~= RING_FORMAT then
      return {
        key = key,
        look = '',
        exists = false,
        head = 0,
        stored = 0,
        capacity = 0,
        header_bytes = RING_HEADER_BYTES,
        newest = 0,
        ahead_us = 0,
      }
    end
    local _, header_bytes, head, stored = struct.unpack('>BBI2I2', look)
    local length = #look < RING_LOOK_BYTES and #look or redis.call('STRLEN', key)
    return {
      key = key,
      look = look,
      exists = true,
      head = head,
      stored = stored,
      capacity = math.floor((length - header_bytes) / SLOT_BYTES),
      header_bytes = header_bytes,
      newest = 0,
      ahead_us = 0,
    }
  end

  -- Bytes of the ring from one offset to before another.
  local function ring_bytes(ring, from, to)
    if to <= #ring.look then return string.sub(ring.look, from + 1, to) end
    return redis.call('GETRANGE', ring.key, from, to - 1)
  end

  local function overwrite(ring, at, bytes)
    redis.call('SETRANGE', ring.key, decimal(at), bytes)
  end

  -- When the unit of this rank was admitted; rank 1 is the newest, `stored` the oldest.
  local function unit_time(ring, rank)
    local slot = (ring.head - rank) % ring.capacity
    local at = ring.header_bytes + slot * SLOT_BYTES
    if at + SLOT_BYTES <= #ring.look then return struct.unpack('>I8', ring.look, at + 1) - ring.ahead_us end
    return struct.unpack('>I8', redis.call('GETRANGE', ring.key, at, at + SLOT_BYTES - 1)) - ring.ahead_us
  end

  -- The time a decision about this ring is made at. A clock set back by more than the window begins anew.
  local function ring_now(ring, window_us)
    if ring.stored == 0 then return now_us end
    ring.newest = unit_time(ring, 1)
    local ahead_us = ring.newest - now_us
    if ahead_us > window_us then
      ring.stored = 0
      ring.newest = 0
      ring.is_forgotten = true
    elseif ahead_us > AHEAD_US then
      ring.newest = now_us
      ring.ahead_us = ahead_us
    end
    return math.max(now_us, ring.newest)
  end

  -- How many units count at `now`: they are the newest ones, so a binary search by rank finds the last that does. Mostly that
  -- is none or all.
  local function used_units(ring, now, window_us)
    local low, high = 0, ring.stored
    if high == 0 or ring.newest + window_us <= now then return 0 end
    if unit_time(ring, high) + window_us > now then return high end
    while low < high do
      local middle = math.ceil((low + high) / 2)
      if unit_time(ring, middle) + window_us > now then low = middle else high = middle - 1 end
    end
    return low
  end

  local function read_exact(plan)
    local ring = read_ring(plan.key)
    plan.ring = ring
    plan.now = ring_now(ring, plan.window_us)
    plan.used = used_units(ring, plan.now, plan.window_us)
    plan.reset_at_us = plan.used > 0 and ring.newest + plan.window_us or now_us
  end

  -- How long until `cost` units fit: when the one that must stop counting first has done so.
  local function wait_exact(plan, cost)
    if cost > plan.capacity then return plan.window_us end
    return unit_time(plan.ring, plan.capacity - cost + 1) + plan.window_us - now_us
  end

  local function counters(head, stored)
    return struct.pack('>I2I2', head, stored)
  end

  -- The slots of the newest `count` units, oldest first; one read however many.
  local function newest_slots(ring, count)
    if count == 0 then return {} end
    local body = ring_bytes(ring, ring.header_bytes, ring.header_bytes + ring.capacity * SLOT_BYTES)
    local slots = {}
    for rank = count, 1, -1 do
      local at = (ring.head - rank) % ring.capacity * SLOT_BYTES
      local slot = string.sub(body, at + 1, at + SLOT_BYTES)
      if ring.ahead_us > 0 then slot = struct.pack('>I8', struct.unpack('>I8', slot) - ring.ahead_us) end
      slots[#slots + 1] = slot
    end
    return slots
  end

  -- A whole record of this capacity with these slots, oldest first.
  local function pack_ring(ring, slots, capacity)
    local header = ring.exists and ring_bytes(ring, 0, ring.header_bytes) or NEW_RING_HEADER
    return string.sub(header, 1, COUNTERS_AT)
      .. counters(#slots % capacity, #slots)
      .. string.sub(header, COUNTERS_AT + 5)
      .. table.concat(slots)
      .. string.rep(EMPTY_SLOT, capacity - #slots)
  end

  -- When the key may go, in Unix ms: some time after its newest unit, since Redis deletes at once what it is told to when that
  -- is over, and other calls of the same script may still count it. A time of day, because since Redis 7.2 a TTL counts from
  -- the start of the script, which is before now_us.
  local function expiry_of(time, window_us)
    return decimal(math.ceil((time + window_us) / 1000) + LINGER_MS)
  end

  -- Writes the ring anew, and lets it go no sooner than before: a call under a shorter window must not forget what counts
  -- under a longer one.
  local function save_ring(ring, slots, capacity, time, window_us)
    local record, expires_at = pack_ring(ring, slots, capacity), expiry_of(time, window_us)
    if ring.exists and not ring.is_forgotten then
      redis.call('SET', ring.key, record, 'KEEPTTL')
      redis.call('PEXPIREAT', ring.key, expires_at, 'GT')
    else
      redis.call('SET', ring.key, record, 'PXAT', expires_at)
    end
  end

  -- Charges units that fit and answers the time that names them.
  local function charge_exact(plan, units)
    local ring, limit, window_us = plan.ring, plan.capacity, plan.window_us
    -- strictly later than every unit before
    local time = math.max(plan.now, ring.newest + 1)
    local slot = struct.pack('>I8', time)
    local needed = plan.used + units
    plan.used = needed
    plan.reset_at_us = time + window_us
    if needed > ring.capacity or ring.ahead_us > 0 then
      local capacity = ring.capacity
      if needed > capacity then
        capacity = math.max(needed, math.ceil(capacity * 1.25), SMALLEST_RING)
        capacity = math.max(needed, math.min(capacity, limit))
      end
      local slots = newest_slots(ring, needed - units)
      for _ = 1, units do slots[#slots + 1] = slot end
      save_ring(ring, slots, capacity, time, window_us)
      return time
    end
    local before_wrap = math.min(units, ring.capacity - ring.head)
    overwrite(ring, ring.header_bytes + ring.head * SLOT_BYTES, string.rep(slot, before_wrap))
    if before_wrap < units then overwrite(ring, ring.header_bytes, string.rep(slot, units - before_wrap)) end
    local stored = math.min(ring.stored + units, ring.capacity)
    overwrite(ring, COUNTERS_AT, counters((ring.head + units) % ring.capacity, stored))
    redis.call('PEXPIREAT', ring.key, expiry_of(time, window_us), 'GT')
    return time
  end

  -- Writes down that the clock was set back.
  local function keep_exact_time(plan)
    local ring = plan.ring
    if ring.ahead_us == 0 then return end
    save_ring(ring, newest_slots(ring, plan.used), ring.capacity, ring.newest, plan.window_us)
  end

  -- Charges units whether or not they fit: as many of the oldest count no more then. Never fewer count than before, because a
  -- limit that was lowered may be raised again.
  local function displace_exact(plan, units)
    units = math.min(units, plan.capacity)
    local most = math.max(plan.used, math.min(plan.used + units, plan.capacity))
    plan.used = most - units
    plan.ring.stored = plan.used
    return charge_exact(plan, units)
  end

  -- Leaves `kept` units at most of those that were charged at `time`; answers how many were taken back.
  local function refund_exact(plan, _, time, _, kept)
    read_exact(plan)
    local charged, slots, of_charge = struct.pack('>I8', time), {}, 0
    for _, slot in ipairs(newest_slots(plan.ring, plan.used)) do
      local is_charged = slot == charged
      if is_charged then of_charge = of_charge + 1 end
      if not is_charged or of_charge <= kept then slots[#slots + 1] = slot end
    end
    local refunded = plan.used - #slots
    if refunded == 0 then return 0 end
    if #slots == 0 then
      redis.call('DEL', plan.key)
    else
      redis.call('SET', plan.key, pack_ring(plan.ring, slots, plan.ring.capacity), 'KEEPTTL')
    end
    return refunded
  end

  return {
    read = read_exact,
    wait = wait_exact,
    charge = charge_exact,
    displace = displace_exact,
    refund = refund_exact,
    keep_time = keep_exact_time,
  }
end
