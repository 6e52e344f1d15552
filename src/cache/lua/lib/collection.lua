-- A collection is a native set or list at the key of an entry: without header, version, tags or lease. An entry's header
-- without a value (a lease stub or a tombstone) holds nothing for readers here either.
--- @include "../../../redis/lua/clock.lua"
--- @include "entry.lua"
--- @include "fence.lua"

-- Whether the key holds a collection of this type; a WRONGTYPE reply as second value where it holds another kind, else the
-- header that is there without a value.
local function has_collection(key, kind)
  if redis.call('TYPE', key).ok == kind then return true end
  local header, wrong_type = read_entry(key)
  if wrong_type or (header and header.visible) then
    return nil, redis.error_reply('WRONGTYPE the key holds another kind of thing')
  end
  return false, nil, header
end

-- The same before a write that may begin a collection. That takes the place of a lease stub, but not of a header with a
-- fence: without it a lower token would be accepted again.
local function has_collection_or_room(key, kind)
  local exists, wrong_type, header = has_collection(key, kind)
  if exists or wrong_type then return exists, wrong_type end
  if header and live_fence(header.fields[FIELD_FENCE]) then
    return nil, redis.error_reply('WRONGTYPE the key holds a fence')
  end
  return false
end

local function set_expiry(key, ttl_ms)
  if ttl_ms > 0 then
    redis.call('PEXPIRE', key, ttl_ms)
  else
    redis.call('PERSIST', key)
  end
end
