-- The packed form of a cache entry. All numbers are big-endian; offsets count from 0.
--
--   0   1  format, 1
--   1   2  H, where the value begins: a reader skips what it does not know between 24 and H
--   3   1  flags: 1 = there is a value (a header without one is a lease stub or a tombstone: no entry to readers),
--          2 = the source has nothing (negative caching)
--   4   8  version, logical clock in µs
--   12  6  created_at, Unix ms
--   18  6  expires_at, Unix ms; 0 = never; equal to the key's own expiry
--   24     fields of 1 byte type, 2 bytes length, bytes; each at most once:
--            1 fresh_until (6)   2 stale_until (6)   3 load_ms (4)   4 fence, the highest token accepted (8)
--            5 seq, tag clock at lease time (8)   6 lease, 16 bytes token and 6 bytes end
--            7 last request ids   8 tags
--   H      the value
--
-- A counter is a bare decimal integer and begins with a digit or '-', a collection is no string: neither can be taken
-- for an entry.
local ENTRY_FORMAT = 1
local ENTRY_FIXED_BYTES = 24
local ENTRY_EXPIRES_AT = 18
local ENTRY_HAS_VALUE = 1
local ENTRY_FIELD_FENCE = 4

-- True for the first 24 bytes of an entry, or more.
local function is_entry(fixed)
  return string.byte(fixed, 1) == ENTRY_FORMAT and #fixed >= ENTRY_FIXED_BYTES
end

-- The header of an entry, or nil where the key holds nothing, or a WRONGTYPE reply as second value.
local function read_entry_header(key)
  local kind = redis.call('TYPE', key).ok
  if kind == 'none' then return nil end
  if kind ~= 'string' then return nil, redis.error_reply('WRONGTYPE the key holds another kind of thing') end
  local fixed = redis.call('GETRANGE', key, 0, ENTRY_FIXED_BYTES - 1)
  if not is_entry(fixed) then
    return nil, redis.error_reply('WRONGTYPE the key holds another kind of thing')
  end
  local _, length, flags, version = struct.unpack('>BI2BI8', fixed)
  local fields = ''
  if length > ENTRY_FIXED_BYTES then fields = redis.call('GETRANGE', key, ENTRY_FIXED_BYTES, length - 1) end
  return {
    has_value = flags % 2 == ENTRY_HAS_VALUE,
    version = version,
    version_bytes = string.sub(fixed, 5, 12),
    fields = fields,
  }
end

-- One field of a header as it is stored, type and length included; '' where it is not there.
local function entry_field(fields, wanted)
  local at = 1
  while at <= #fields do
    local kind, length = struct.unpack('>BI2', fields, at)
    if kind == wanted then return string.sub(fields, at, at + 2 + length) end
    at = at + 3 + length
  end
  return ''
end

local function pack_entry(flags, version, created_at, expires_at, fields, value)
  return struct.pack('>BI2BI8I6I6', ENTRY_FORMAT, ENTRY_FIXED_BYTES + #fields, flags, version, created_at, expires_at)
    .. fields
    .. value
end

-- True where the key holds something for readers: an entry with a value, a counter or a collection.
local function key_is_visible(key)
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'string' then return kind ~= 'none' end
  local fixed = redis.call('GETRANGE', key, 0, ENTRY_FIXED_BYTES - 1)
  return not is_entry(fixed) or string.byte(fixed, 4) % 2 == ENTRY_HAS_VALUE
end
