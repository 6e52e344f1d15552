-- The queue of a lock: whose turn it is, and the handing over. Needs clock.lua and lock.lua.

-- How long a waiter that was granted the lock has to take it up; one whose service died costs those behind it so much.
local CLAIM_MS = 2000

-- So many waiters are looked at for one in another service.
local MAX_TOLD = 4

-- The waiter whose turn it is; nil where nobody waits. Takes out those in front that gave up.
local function first_waiter(lock, state)
  while state.head < state.tail do
    local field = 'q:' .. decimal(state.head)
    local packed = read_field(lock, state, field)
    local waiter = packed and cmsgpack.unpack(packed)
    if waiter and waiter[WAITER_GIVES_UP_AT] > now_ms then return waiter end
    if waiter then
      drop_waiter(state, state.head, waiter)
      state.expired_waiters = state.expired_waiters + 1
    end
    state.head = state.head + 1
  end
  return nil
end

local function has_room(state, permits, capacity)
  if permits == 0 then return state.used == 0 end
  return state.used + permits <= capacity
end

-- Whether what an owner holds is as much as it asks for once more.
local function covers(group, permits)
  return group[2] == 0 or permits > 0 and permits <= group[2]
end

-- Makes a holder of whoever is granted the lock now, `holder` being all of it but its fencing token; answers how many grants
-- its owner has. An exclusive grant raises the fence, others carry it. `group` is what a reentrant owner holds already.
local function grant(state, lock_token, holder, group)
  local owner, permits = holder[HOLDER_OWNER], holder[HOLDER_PERMITS]
  if group then
    holder[HOLDER_PERMITS], holder[HOLDER_FENCING_TOKEN] = group[2], group[3]
    note_end(state, holder[HOLDER_EXPIRES_AT])
    group[1] = group[1] + 1
  else
    if permits == 0 or state.fence == 0 then state.fence = next_tick(state.fence) end
    holder[HOLDER_FENCING_TOKEN] = decimal(state.fence)
    count_holder(state, permits, holder[HOLDER_EXPIRES_AT])
    if holder[HOLDER_REENTRANT] == 1 then group = {1, permits, holder[HOLDER_FENCING_TOKEN]} end
  end
  if group then put_group(state, owner, group) end
  state.last = lock_token
  put_holder(state, lock_token, holder)
  return group and group[1] or 1
end

-- Tells all calls of a waiter that it is granted the lock; answers where somebody heard it, nil where nobody did.
local function tell_granted(waiter)
  local message = 'G' .. waiter[WAITER_TOKEN]
  local told, heard_on = {}, nil
  for _, call in ipairs(waiter[WAITER_CALLS] or {}) do
    local channel = call[CALL_CHANNEL]
    if not told[channel] and redis.call('SPUBLISH', channel, message) > 0 then heard_on = channel end
    told[channel] = true
  end
  local channel = waiter[WAITER_CHANNEL]
  if told[channel] then return heard_on end
  return redis.call('SPUBLISH', channel, message) > 0 and channel or nil
end

-- The calls that may take up what a waiter is granted.
local function calls_of(waiter)
  local calls = {}
  for _, call in ipairs(waiter[WAITER_CALLS] or {}) do calls[#calls + 1] = call[CALL_ID] end
  return #calls > 0 and calls or {waiter[WAITER_CALL]}
end

-- Grants the lock to those whose turn it is, as far as there is room, and wakes them. Each has CLAIM_MS to take it up; one
-- whose service nobody hears is taken out.
local function hand_over(lock, state)
  if state.delay_until > now_ms then return end
  local waiter = first_waiter(lock, state)
  while waiter do
    local permits, owner = waiter[WAITER_PERMITS], waiter[WAITER_OWNER]
    local group = waiter[WAITER_REENTRANT] == 1 and group_of(lock, state, owner)
    if not (group and covers(group, permits)) then
      if not has_room(state, permits, waiter[WAITER_CAPACITY]) then return end
      group = nil
    end
    local lock_token = waiter[WAITER_TOKEN]
    drop_waiter(state, state.head, waiter)
    state.head = state.head + 1
    local channel = tell_granted(waiter)
    if channel then
      grant(state, lock_token, {permits, now_ms + CLAIM_MS, now_ms, '', owner, 0, waiter[WAITER_REENTRANT],
        waiter[WAITER_DELAY], channel, waiter[WAITER_STREAM], calls_of(waiter)}, group)
      state.handed_to = channel
    else
      state.expired_waiters = state.expired_waiters + 1
    end
    waiter = first_waiter(lock, state)
  end
end

-- Takes a holder out; its place is free.
local function remove_holder(lock, state, lock_token, holder)
  drop(state, 'h:' .. lock_token)
  local owner = holder[HOLDER_OWNER]
  local group = holder[HOLDER_REENTRANT] == 1 and group_of(lock, state, owner)
  if group and group[1] > 1 then
    group[1] = group[1] - 1
    put_group(state, owner, group)
    return
  end
  if group then put_group(state, owner, nil) end
  state.used = holder[HOLDER_PERMITS] == 0 and 0 or math.max(0, state.used - holder[HOLDER_PERMITS])
  if state.used == 0 then state.ends_at = 0 end
end

-- In how many ms something may change of which nobody is told: a lease, a delay or the wait of the head ends. 0 = never.
-- Only after write_lock.
local function changes_in_ms(lock, state)
  local at = state.used > 0 and state.ends_at or 0
  if state.delay_until > now_ms and (at == 0 or state.delay_until < at) then at = state.delay_until end
  local waiter = first_waiter(lock, state)
  if waiter and (at == 0 or waiter[WAITER_GIVES_UP_AT] < at) then at = waiter[WAITER_GIVES_UP_AT] end
  return at > 0 and math.max(1, at - now_ms) or 0
end

-- Tells who waits first, in another service than the one that listens on `channel` and knows, when something will change:
-- should that one stand still, nobody else would look in time. Only after write_lock.
local function tell_next(lock, state, channel)
  for ticket = state.head, math.min(state.tail, state.head + MAX_TOLD) - 1 do
    local packed = redis.call('HGET', lock, 'q:' .. decimal(ticket))
    local waiter = packed and cmsgpack.unpack(packed)
    if waiter and waiter[WAITER_CHANNEL] ~= channel then
      redis.call('SPUBLISH', waiter[WAITER_CHANNEL], 'T' .. waiter[WAITER_TOKEN] .. changes_in_ms(lock, state))
      return
    end
  end
end

-- One of those who hold the lock; nil where nobody does. Only after write_lock.
local function any_holder(lock, state)
  if state.used == 0 then return nil end
  local holder = live_holder(redis.call('HGET', lock, 'h:' .. state.last))
  if holder then return holder end
  local fields = redis.call('HGETALL', lock)
  for i = 1, #fields, 2 do
    holder = string.sub(fields[i], 1, 2) == 'h:' and live_holder(fields[i + 1])
    if holder then return holder end
  end
  return nil
end

-- Why somebody does not get the lock: {status, waiting, delay_left_ms, then one holder where it is held}. Only after
-- write_lock.
local function refusal(lock, state)
  local delay_left_ms = math.max(0, state.delay_until - now_ms)
  local holder = any_holder(lock, state)
  local reply = {holder and 'HELD' or delay_left_ms > 0 and 'IN_DELAY' or 'QUEUED', state.waiting, delay_left_ms}
  if holder then append_holder(reply, holder) end
  return reply
end
