-- The packed form of a cache entry. All numbers are big-endian; offsets count from 0.
--
--   0   1  format, 1
--   1   2  H, where the value begins: a reader skips what it does not know between 24 and H
--   3   1  flags: 1 = there is a value, 2 = the source has nothing (negative caching). A header without a value is no
--          entry to readers.
--   4   8  version, logical clock in µs
--   12  6  created_at, Unix ms
--   18  6  expires_at, Unix ms; 0 = never. The key itself may live longer, for a lease or a fence; readers go by this.
--   24     fields of 1 byte type, 2 bytes length, bytes; each at most once:
--            1 fresh_until, Unix ms (6): stale from then on; absent = fresh to the end
--            3 load_ms (4): how long the source took
--            4 fence (lib/fence.lua)
--            5 seq (8): the tag clock from before the source was read; stands beside 8
--            6 lease (lib/lease.lua)
--            8 tags, each 1 byte length, bytes
--   H      the value
--
-- A counter is a bare decimal integer and begins with a digit or '-', a collection is no string: neither can be taken
-- for an entry. Needs clock.lua before it.
local ENTRY_FORMAT = 1
local ENTRY_FIXED_BYTES = 24
local ENTRY_EXPIRES_AT = 18
local ENTRY_HAS_VALUE = 1
local ENTRY_ABSENT = 2
local FIELD_FRESH_UNTIL = 1
local FIELD_LOAD_MS = 3
local FIELD_FENCE = 4
local FIELD_SEQ = 5
local FIELD_LEASE = 6
local FIELD_TAGS = 8

-- Nearly every header fits, so that one look is enough. As text, because Redis prints a number that a script hands it with
-- '%.17g', which costs as much as the look.
local ENTRY_LOOK_FROM, ENTRY_LOOK_TO = '0', '127'

-- The header of an entry, or nil where the key holds nothing, or a WRONGTYPE reply as second value.
local function read_entry(key)
  -- fails for what is no string
  local head = redis.pcall('GETRANGE', key, ENTRY_LOOK_FROM, ENTRY_LOOK_TO)
  if type(head) == 'table' then return nil, head end
  if head == '' and redis.call('EXISTS', key) == 0 then return nil end
  if #head < ENTRY_FIXED_BYTES or string.byte(head, 1) ~= ENTRY_FORMAT then
    return nil, redis.error_reply('WRONGTYPE the key holds another kind of thing')
  end
  local _, length, flags, version, created_at, expires_at = struct.unpack('>BI2BI8I6I6', head)
  local fields = {}
  if length > ENTRY_FIXED_BYTES then
    if length > #head then head = redis.call('GETRANGE', key, 0, length - 1) end
    local at = ENTRY_FIXED_BYTES + 1
    while at < length do
      local kind, size = struct.unpack('>BI2', head, at)
      fields[kind] = string.sub(head, at + 3, at + 2 + size)
      at = at + 3 + size
    end
  end
  local alive = expires_at == 0 or now_ms < expires_at
  return {
    flags = flags,
    version = version,
    created_at = created_at,
    expires_at = expires_at,
    value_at = length,
    fields = fields,
    -- what readers see
    visible = alive and flags % 2 == ENTRY_HAS_VALUE,
    -- the source was asked and had nothing
    absent = alive and flags == ENTRY_ABSENT,
  }
end

-- Whether an entry has this version, given in 8 bytes because a caller's number may be past 2^53.
local function has_version(header, version_bytes)
  return struct.pack('>I8', header.version) == version_bytes
end

-- The one byte string of an entry. Fields of a type that this version does not know are not carried along: they said
-- something of what is overwritten.
local function pack_entry(flags, version, created_at, expires_at, fields, value)
  local packed_fields = ''
  for kind, bytes in pairs(fields) do
    packed_fields = packed_fields .. struct.pack('>BI2', kind, #bytes) .. bytes
  end
  local header_bytes = ENTRY_FIXED_BYTES + #packed_fields
  return struct.pack('>BI2BI8I6I6', ENTRY_FORMAT, header_bytes, flags, version, created_at, expires_at)
    .. packed_fields
    .. value
end
