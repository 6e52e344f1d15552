-- A lock is one hash, <ns>:lock:{<resource>}. Its fields:
--
--   fence           decimal string: the highest fencing token granted; stays when the last holder goes
--   h:<lock_token>  a holder: a cmsgpack array of
--                     1 permits         how many of the capacity it takes; 0 = all of it (exclusive)
--                     2 expires_at_ms   Unix ms; a holder whose expires_at_ms <= now is dead
--                     3 acquired_at_ms  Unix ms
--                     4 fencing_token   decimal string, because cmsgpack of another language may read it as a float
--                     5 owner           for people
--                     6 request_id      empty = none
--                     7 answers         calls that were answered with this grant and did not give it back
--                   readers ignore further elements, and a writer that changes one keeps them
--
-- Reserved for shared locks, semaphores and waiting; readers ignore them as any other field:
--   capacity        decimal string: permits in all; absent = whoever holds, holds alone
--   q:<ticket>      one waiter
--   q.head, q.tail  decimal strings: first ticket that waits, next ticket to give
--
-- The key expires a fence retention after the last lease. A lost or expired fence does no harm to the order of tokens:
-- the next one is taken from the time (clock.lua). Needs clock.lua before it.
local HOLDER_PREFIX = 'h:'
local HOLDER_EXPIRES_AT = 2
local HOLDER_ACQUIRED_AT = 3
local HOLDER_FENCING_TOKEN = 4
local HOLDER_OWNER = 5
local HOLDER_REQUEST_ID = 6
local HOLDER_ANSWERS = 7
local ALL_PERMITS = 0

local MAX_TTL_MS = 3600000
local MAX_FENCE_RETENTION_MS = 31536000000

-- By digits, because tonumber() also takes '0x10', '1e3', ' 7' and 'nan'.
local function whole_number(digits, min, max)
  local number = string.match(digits, '^%d+$') and tonumber(digits)
  if number and number >= min and number <= max then return number end
  return nil
end

local function is_lock_token(text)
  return #text == 32 and string.find(text, '^[%w_-]+$') ~= nil
end

local function is_alive(record)
  return record[HOLDER_EXPIRES_AT] > now_ms
end

-- The fence, the live holders as {lock_token, record}, the fields of the dead ones, and whether the key exists.
local function read_lock(lock)
  local fields = redis.call('HGETALL', lock)
  local fence, holders, dead_fields = 0, {}, {}
  for i = 1, #fields, 2 do
    local field, value = fields[i], fields[i + 1]
    if field == 'fence' then
      fence = tonumber(value)
    elseif string.sub(field, 1, #HOLDER_PREFIX) == HOLDER_PREFIX then
      local record = cmsgpack.unpack(value)
      if is_alive(record) then
        holders[#holders + 1] = {lock_token = string.sub(field, #HOLDER_PREFIX + 1), record = record}
      else
        dead_fields[#dead_fields + 1] = field
      end
    end
  end
  return fence, holders, dead_fields, #fields > 0
end

-- The record of one holder; nil where the token holds nothing (any more).
local function read_live_holder(lock, lock_token)
  local packed = redis.call('HGET', lock, HOLDER_PREFIX .. lock_token)
  local record = packed and cmsgpack.unpack(packed)
  if record and is_alive(record) then return record end
  return nil
end

local function write_holder(lock, lock_token, record)
  redis.call('HSET', lock, HOLDER_PREFIX .. lock_token, cmsgpack.pack(record))
end

-- Never shortens the key's life, so one holder can end without a look at the others. Not for a new key: GT would leave it,
-- which has no expiry yet, without one for ever.
local function keep_lock_until(lock, at_ms)
  redis.call('PEXPIREAT', lock, decimal(at_ms), 'GT')
end

-- What a reply says of a holder: owner, fencing_token, acquired_at_ms, expires_at_ms, ttl_ms (at least 1).
local function append_holder(reply, record)
  reply[#reply + 1] = record[HOLDER_OWNER]
  reply[#reply + 1] = record[HOLDER_FENCING_TOKEN]
  reply[#reply + 1] = record[HOLDER_ACQUIRED_AT]
  reply[#reply + 1] = record[HOLDER_EXPIRES_AT]
  reply[#reply + 1] = record[HOLDER_EXPIRES_AT] - now_ms
  return reply
end
