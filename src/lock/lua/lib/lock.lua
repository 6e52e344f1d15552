-- A lock is one hash, <ns>:lock:{<resource>}. Its fields:
--
--   fence           decimal string: the highest fencing token granted; stays when the last holder goes
--   used            permits in use; EXCLUSIVE = all of them; absent = 0
--   until           Unix ms: no holder's lease ends before
--   delay           Unix ms: nobody is granted before, since a holder got lost
--   last            the lock token that was granted last
--   head, tail      the first ticket that waits, the next ticket to give; absent = nobody waits
--   waiting         how many wait; tickets between head and tail may be gone
--   forced          the fence that the last ForceReleaseLock set, a space, and its reason: for the stream that was not told;
--                   absent = it took the lock from no stream
--   h:<lock_token>  a holder: a cmsgpack array, see HOLDER_*
--   o:<owner>       what an owner holds of the lock as reentrant: a cmsgpack array {grants, permits, fencing_token}
--   q:<ticket>      a waiter: a cmsgpack array, see WAITER_*
--   w:<lock_token>  the ticket of a waiter with a request id
--
-- Readers ignore other fields, and further elements of arrays. The key expires a fence retention after the last lease or
-- wait. A lost or expired fence does no harm to the order of tokens: the next one is taken from the time (clock.lua).
-- Needs clock.lua before it.
--- @include "arguments.lua"
local HOLDER_PERMITS = 1        -- 0 = all
local HOLDER_EXPIRES_AT = 2     -- Unix ms; a holder whose expires_at <= now is dead
local HOLDER_ACQUIRED_AT = 3    -- Unix ms
local HOLDER_FENCING_TOKEN = 4  -- decimal string, because cmsgpack of another language may read it as a float
local HOLDER_OWNER = 5
local HOLDER_ANSWERS = 6        -- calls that were answered with this grant and did not give it back
local HOLDER_REENTRANT = 7      -- 0 or 1
local HOLDER_DELAY = 8          -- ms that the lock is closed when this holder gets lost
local HOLDER_CHANNEL = 9        -- where the service listens that keeps the lock alive; empty = none does
local HOLDER_STREAM = 10        -- the stream that keeps it; empty = none
local HOLDER_CALLS = 11         -- of one that was handed over and not taken up yet: the calls that may; else absent

local WAITER_TOKEN = 1
local WAITER_PERMITS = 2
local WAITER_CAPACITY = 3
local WAITER_TTL = 4
local WAITER_GIVES_UP_AT = 5    -- Unix ms
local WAITER_SINCE = 6          -- Unix ms
local WAITER_OWNER = 7
local WAITER_REENTRANT = 8
local WAITER_DELAY = 9
local WAITER_CHANNEL = 10
local WAITER_STREAM = 11
local WAITER_HAS_REQUEST = 12   -- 0 or 1: has a field w:
local WAITER_CALL = 13          -- the call that waits
local WAITER_CALLS = 14         -- with a request id: all its calls that wait here, see CALL_*; the last is the one above

local CALL_ID = 1
local CALL_CHANNEL = 2
local CALL_GIVES_UP_AT = 3
local CALL_STREAM = 4
local CALL_DELAY = 5
-- More calls of one request do not wait at one place: the oldest is forgotten.
local MAX_CALLS = 8

local EXCLUSIVE = 1000000000
local MAX_PERMITS = 1000000
local MAX_WAIT_MS = 60000
local MAX_DELAY_MS = 60000
local MAX_TICKET = 2 ^ 53

local function is_alive(holder)
  return holder[HOLDER_EXPIRES_AT] > now_ms
end

-- The lock's own fields as a table, and of further fields that are named their values as they stand. What the functions
-- below change is gathered in the table; write_lock writes it.
local function read_lock(lock, field, other_field)
  local values = redis.call('HMGET', lock, 'fence', 'used', 'until', 'delay', 'head', 'tail', 'waiting', 'last',
    field or 'fence', other_field or 'fence')
  return {
    exists = values[1] ~= false,
    fence = tonumber(values[1] or 0),
    used = tonumber(values[2] or 0),
    ends_at = tonumber(values[3] or 0),
    delay_until = tonumber(values[4] or 0),
    head = tonumber(values[5] or 0),
    tail = tonumber(values[6] or 0),
    waiting = tonumber(values[7] or 0),
    last = values[8] or '',
    -- what is to be written: by field its value, or false where it is to go
    changes = {},
    keep_until = 0,
    was = {fence = values[1], used = values[2], ends_at = values[3], delay = values[4], head = values[5],
      tail = values[6], waiting = values[7], last = values[8]},
    -- of reentrant owners: {grants, permits, fencing_token}, false where there is nothing
    groups = {},
    expired_holders = 0,
    expired_waiters = 0,
    -- of the expired holders, those that had taken the lock up
    lost = 0,
  }, field and values[9], other_field and values[10]
end

local function put(state, field, value)
  state.changes[field] = value
end

local function drop(state, field)
  state.changes[field] = false
end

-- A field as it will be; false where it is not there.
local function read_field(lock, state, field)
  local change = state.changes[field]
  if change ~= nil then return change end
  return redis.call('HGET', lock, field)
end

-- One of the lock's own fields; `value` is nil where it is to be absent.
local function put_own(state, field, value, was)
  if value and value ~= was then
    put(state, field, value)
  elseif not value and was then
    drop(state, field)
  end
end

-- Writes what was changed. The key then lives until `fence_retention_ms` after the latest lease or wait that this script
-- knows of, or longer.
local function write_lock(lock, state, fence_retention_ms)
  local was = state.was
  local is_used, is_waited = state.used > 0, state.tail > state.head
  put_own(state, 'fence', decimal(state.fence), was.fence)
  put_own(state, 'used', is_used and decimal(state.used), was.used)
  put_own(state, 'until', is_used and decimal(state.ends_at), was.ends_at)
  put_own(state, 'last', is_used and state.last, was.last)
  put_own(state, 'delay', state.delay_until > now_ms and decimal(state.delay_until), was.delay)
  put_own(state, 'head', is_waited and decimal(state.head), was.head)
  put_own(state, 'tail', is_waited and decimal(state.tail), was.tail)
  put_own(state, 'waiting', is_waited and decimal(state.waiting), was.waiting)
  local set, gone = {}, {}
  for field, value in pairs(state.changes) do
    if value then
      set[#set + 1] = field
      set[#set + 1] = value
    else
      gone[#gone + 1] = field
    end
  end
  -- unpack() takes no more than some thousands
  for from = 1, #gone, 1000 do
    redis.call('HDEL', lock, unpack(gone, from, math.min(from + 999, #gone)))
  end
  for from = 1, #set, 1000 do
    redis.call('HSET', lock, unpack(set, from, math.min(from + 999, #set)))
  end
  if #set + #gone == 0 then return end
  local at = decimal(math.max(state.keep_until, now_ms) + fence_retention_ms)
  -- GT never shortens the key's life, so one holder can end without a look at the others. It would leave a new key, which
  -- has no expiry yet, without one for ever.
  if state.exists then redis.call('PEXPIREAT', lock, at, 'GT') else redis.call('PEXPIREAT', lock, at) end
end

local function put_holder(state, lock_token, holder)
  put(state, 'h:' .. lock_token, cmsgpack.pack(holder))
  state.keep_until = math.max(state.keep_until, holder[HOLDER_EXPIRES_AT] + holder[HOLDER_DELAY])
end

-- What a reentrant owner holds; nil where it is nothing.
local function group_of(lock, state, owner)
  if state.groups[owner] == nil then
    local packed = redis.call('HGET', lock, 'o:' .. owner)
    state.groups[owner] = packed and cmsgpack.unpack(packed)
  end
  return state.groups[owner] or nil
end

local function put_group(state, owner, group)
  state.groups[owner] = group or false
  if group then put(state, 'o:' .. owner, cmsgpack.pack(group)) else drop(state, 'o:' .. owner) end
end

local function note_end(state, expires_at)
  if state.ends_at == 0 or expires_at < state.ends_at then state.ends_at = expires_at end
end

-- Counts a holder among those that the lock's own fields tell of.
local function count_holder(state, permits, expires_at)
  state.used = permits == 0 and EXCLUSIVE or state.used + permits
  note_end(state, expires_at)
end

local function drop_waiter(state, ticket, waiter)
  drop(state, 'q:' .. decimal(ticket))
  if waiter[WAITER_HAS_REQUEST] == 1 then drop(state, 'w:' .. waiter[WAITER_TOKEN]) end
  state.waiting = state.waiting - 1
end

-- Clears the holders whose lease is over, once the first one can be: what the others use is counted anew, from what Redis has,
-- so before anything else is changed. Where a holder is over that was handed the lock and never took it up, its service is
-- gone, and so are its waiters.
local function clear_expired(lock, state)
  if state.ends_at == 0 or state.ends_at > now_ms then return end
  local fields = redis.call('HGETALL', lock)
  local groups, dead_channels, dead_groups = {}, {}, {}
  state.used, state.ends_at = 0, 0
  for i = 1, #fields, 2 do
    local field, kind = fields[i], string.sub(fields[i], 1, 2)
    if kind == 'h:' then
      local holder = cmsgpack.unpack(fields[i + 1])
      local owner = holder[HOLDER_REENTRANT] == 1 and holder[HOLDER_OWNER]
      if not is_alive(holder) then
        drop(state, field)
        state.expired_holders = state.expired_holders + 1
        if holder[HOLDER_ANSWERS] == 0 then
          dead_channels[holder[HOLDER_CHANNEL]] = true
        else
          state.lost = state.lost + 1
          if holder[HOLDER_DELAY] > 0 then
            state.delay_until = math.max(state.delay_until, holder[HOLDER_EXPIRES_AT] + holder[HOLDER_DELAY])
          end
        end
      elseif owner and groups[owner] then
        groups[owner][1] = groups[owner][1] + 1
        note_end(state, holder[HOLDER_EXPIRES_AT])
      else
        if owner then groups[owner] = {1, holder[HOLDER_PERMITS], holder[HOLDER_FENCING_TOKEN]} end
        count_holder(state, holder[HOLDER_PERMITS], holder[HOLDER_EXPIRES_AT])
      end
    elseif kind == 'o:' then
      dead_groups[string.sub(field, 3)] = true
    end
  end
  for owner, group in pairs(groups) do
    dead_groups[owner] = nil
    put_group(state, owner, group)
  end
  for owner in pairs(dead_groups) do put_group(state, owner, nil) end
  if not next(dead_channels) then return end
  for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 2) == 'q:' then
      local waiter = cmsgpack.unpack(fields[i + 1])
      if dead_channels[waiter[WAITER_CHANNEL]] then
        drop_waiter(state, tonumber(string.sub(fields[i], 3)), waiter)
        state.expired_waiters = state.expired_waiters + 1
      end
    end
  end
end

-- The holder with a token, as it is in Redis; nil where the token holds nothing (any more).
local function live_holder(packed)
  local holder = packed and cmsgpack.unpack(packed)
  return holder and is_alive(holder) and holder or nil
end

-- Moves the end of a lease.
local function move_end(state, lock_token, holder, expires_at)
  -- the only holder's end is known; of several the first end is counted anew when it has come
  if holder[HOLDER_PERMITS] == 0 and holder[HOLDER_REENTRANT] == 0 then state.ends_at = expires_at end
  note_end(state, expires_at)
  holder[HOLDER_EXPIRES_AT] = expires_at
  put_holder(state, lock_token, holder)
end

-- How many grants the owner of a holder has.
local function hold_count(lock, state, holder)
  local group = holder[HOLDER_REENTRANT] == 1 and group_of(lock, state, holder[HOLDER_OWNER])
  return group and group[1] or 1
end

-- What a reply says of a holder: owner, fencing_token, acquired_at_ms, expires_at_ms, ttl_ms (at least 1), permits.
local function append_holder(reply, holder)
  reply[#reply + 1] = holder[HOLDER_OWNER]
  reply[#reply + 1] = holder[HOLDER_FENCING_TOKEN]
  reply[#reply + 1] = holder[HOLDER_ACQUIRED_AT]
  reply[#reply + 1] = holder[HOLDER_EXPIRES_AT]
  reply[#reply + 1] = holder[HOLDER_EXPIRES_AT] - now_ms
  reply[#reply + 1] = holder[HOLDER_PERMITS]
  return reply
end

-- A reply, and behind it, where leases were found over of holders that had taken the lock up, how many.
local function telling_lost(state, reply)
  if state.lost > 0 then reply[#reply + 1] = state.lost end
  return reply
end
