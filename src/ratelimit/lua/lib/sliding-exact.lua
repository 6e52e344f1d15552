-- A sliding window that is exact: a ring of the times at which units were admitted. Numbers are big-endian, offsets count
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
local RING_FORMAT = 1
local RING_HEADER_BYTES = 8
-- RING_FORMAT, RING_HEADER_BYTES and zeros.
local NEW_RING_HEADER = '\1\8\0\0\0\0\0\0'
local COUNTERS_AT = 2
local SLOT_BYTES = 8
local EMPTY_SLOT = '\0\0\0\0\0\0\0\0'
local SMALLEST_RING = 4

-- Most rings fit, 64 units, and are then read and written whole: a command for each slot would cost several times as much,
-- and so would its numbers, which is why these are text.
local RING_LOOK_BYTES = 520
local RING_LOOK_FROM, RING_LOOK_TO = '0', '519'

local function read_ring(key)
  local look = redis.call('GETRANGE', key, RING_LOOK_FROM, RING_LOOK_TO)
  if look == '' then
    return {
      key = key,
      look = look,
      exists = false,
      head = 0,
      stored = 0,
      capacity = 0,
      header_bytes = RING_HEADER_BYTES,
      newest = 0,
    }
  end
  local format, header_bytes, head, stored = struct.unpack('>BBI2I2', look)
  if format ~= RING_FORMAT then return nil end
  local length = #look < RING_LOOK_BYTES and #look or redis.call('STRLEN', key)
  return {
    key = key,
    look = look,
    exists = true,
    is_whole = #look == length,
    head = head,
    stored = stored,
    capacity = math.floor((length - header_bytes) / SLOT_BYTES),
    header_bytes = header_bytes,
    newest = 0,
  }
end

-- Bytes of the ring from one offset to before another.
local function ring_bytes(ring, from, to)
  if to <= #ring.look then return string.sub(ring.look, from + 1, to) end
  return redis.call('GETRANGE', ring.key, from, to - 1)
end

-- Overwrites bytes of the ring: of one that is in hand whole there, for save_ring to write.
local function overwrite(ring, at, bytes)
  if ring.is_whole then
    ring.look = string.sub(ring.look, 1, at) .. bytes .. string.sub(ring.look, at + #bytes + 1)
  else
    redis.call('SETRANGE', ring.key, at, bytes)
  end
end

local function save_ring(ring, expires_at)
  if ring.is_whole then
    redis.call('SET', ring.key, ring.look, 'PXAT', expires_at)
  else
    redis.call('PEXPIREAT', ring.key, expires_at)
  end
end

-- When the unit of this rank was admitted; rank 1 is the newest, `stored` the oldest.
local function unit_time(ring, rank)
  local slot = (ring.head - rank) % ring.capacity
  local at = ring.header_bytes + slot * SLOT_BYTES
  if at + SLOT_BYTES <= #ring.look then return (struct.unpack('>I8', ring.look, at + 1)) end
  return (struct.unpack('>I8', redis.call('GETRANGE', ring.key, at, at + SLOT_BYTES - 1)))
end

-- The time a decision about this ring is made at. A clock that was set back a little stands still until it has caught up,
-- so that nothing is admitted twice; one set back by more than the window begins anew, so that nobody is locked out for
-- longer than that.
local function ring_now(ring, window_us)
  if ring.stored == 0 then return now_us end
  ring.newest = unit_time(ring, 1)
  if ring.newest - now_us > window_us then
    ring.stored = 0
    ring.newest = 0
    ring.is_ahead = true
    return now_us
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

-- What CheckRateLimit would decide for one limit; reads only.
local function plan_admission(key, limit, window_us, cost)
  local ring = read_ring(key)
  if not ring then return nil end
  local now = ring_now(ring, window_us)
  local plan = {ring = ring, now = now, limit = limit, window_us = window_us, used = used_units(ring, now, window_us)}
  plan.admitted = plan.used + cost <= limit
  plan.retry_after_us = 0
  -- the unit that must stop counting first: with it gone, `cost` fit
  if not plan.admitted then plan.retry_after_us = unit_time(ring, limit - cost + 1) + window_us - now_us end
  return plan
end

local function counters(head, stored)
  return struct.pack('>I2I2', head, stored)
end

-- The slots of the newest `count` units as they are stored, oldest first; one read however many.
local function newest_slots(ring, count)
  if count == 0 then return {} end
  local body = ring_bytes(ring, ring.header_bytes, ring.header_bytes + ring.capacity * SLOT_BYTES)
  local slots = {}
  for rank = count, 1, -1 do
    local at = (ring.head - rank) % ring.capacity * SLOT_BYTES
    slots[#slots + 1] = string.sub(body, at + 1, at + SLOT_BYTES)
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

-- When the key may go, in Unix ms: with its newest unit, and never sooner than before, because a call under a shorter
-- window must not forget what counts under a longer one. A time of day, because since Redis 7.2 a TTL counts from the
-- start of the script, which is before now_us.
local function expiry_of(ring, time, window_us)
  local expires_at = math.ceil((time + window_us) / 1000)
  if ring.exists and not ring.is_ahead then expires_at = math.max(expires_at, redis.call('PEXPIRETIME', ring.key)) end
  return decimal(expires_at)
end

-- Charges an admitted plan and answers the time that names the admission.
local function commit_admission(plan, cost)
  local ring, limit, window_us = plan.ring, plan.limit, plan.window_us
  -- strictly later than every unit before
  local time = math.max(plan.now, ring.newest + 1)
  local slot = struct.pack('>I8', time)
  local needed = plan.used + cost
  local expires_at = expiry_of(ring, time, window_us)
  if needed > ring.capacity then
    local capacity = math.max(needed, math.ceil(ring.capacity * 1.25), SMALLEST_RING)
    capacity = math.max(needed, math.min(capacity, limit))
    local slots = newest_slots(ring, plan.used)
    for _ = 1, cost do slots[#slots + 1] = slot end
    redis.call('SET', ring.key, pack_ring(ring, slots, capacity), 'PXAT', expires_at)
    return time
  end
  local before_wrap = math.min(cost, ring.capacity - ring.head)
  overwrite(ring, ring.header_bytes + ring.head * SLOT_BYTES, string.rep(slot, before_wrap))
  if before_wrap < cost then overwrite(ring, ring.header_bytes, string.rep(slot, cost - before_wrap)) end
  local stored = math.min(ring.stored + cost, ring.capacity)
  overwrite(ring, COUNTERS_AT, counters((ring.head + cost) % ring.capacity, stored))
  save_ring(ring, expires_at)
  return time
end

-- What a reply says of one limit: over, used, retry_after_us, reset_at_us, time. `time` is 0 where nothing was charged.
local function append_limit(reply, plan, used, newest, time)
  reply[#reply + 1] = plan.admitted and 0 or 1
  reply[#reply + 1] = used
  reply[#reply + 1] = plan.retry_after_us
  reply[#reply + 1] = used > 0 and newest + plan.window_us or now_us
  reply[#reply + 1] = time
end

-- Plans every limit of a call. ARGV: cost, then limit and window in ms for each key.
local function plan_all(rings, args)
  local cost = tonumber(args[1])
  if not cost or cost < 1 or cost > 64 then return nil, 'BADARG cost' end
  local plans, admitted = {}, true
  for index, key in ipairs(rings) do
    local limit, window_ms = tonumber(args[2 * index]), tonumber(args[2 * index + 1])
    if not limit or limit < 1 or limit > 8192 or cost > limit then return nil, 'BADARG limits' end
    if not window_ms or window_ms < 1 then return nil, 'BADARG limits' end
    local plan = plan_admission(key, limit, window_ms * 1000, cost)
    if not plan then return nil, 'WRONGTYPE the key holds no ring' end
    admitted = admitted and plan.admitted
    plans[index] = plan
  end
  return {cost = cost, plans = plans, admitted = admitted}
end
