#!lua
--[[
  set: write an entry, optionally under a condition.

  KEYS[1] entry  string  <ns>:cache:{<key>}

  ARGV[1] value      bytes    any
  ARGV[2] ttlMs      integer  0..31536000000; 0 = no expiry
  ARGV[3] condition  word     always | absent | present | version
  ARGV[4] version    bytes    8, big-endian, for the condition version; otherwise empty

  Returns
    {'STORED', version}  written; version is a decimal string
    {'UNMET', version}   not written; the version of the entry that is there, '0' where there is none

  Errors:    WRONGTYPE where the key holds a counter or a collection.
  Atomicity: the condition and the write are one step.
  Retry:     writes again; safe under the condition version.    Clock: Redis TIME.
  A lease on the key is void afterwards; the highest fencing token accepted stays.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/entry.lua"
local entry = KEYS[1]
local value, ttl_ms, condition, version = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
if not ttl_ms or ttl_ms < 0 then return redis.error_reply('BADARG ttlMs') end

local header, wrong_type = read_entry_header(entry)
if wrong_type then return wrong_type end

local previous, fields = 0, ''
local present = false
if header then
  previous = header.version
  present = header.has_value
  fields = entry_field(header.fields, ENTRY_FIELD_FENCE)
end

local met
if condition == 'always' then
  met = true
elseif condition == 'absent' then
  met = not present
elseif condition == 'present' then
  met = present
elseif condition == 'version' then
  -- as bytes, because a caller's number may be past 2^53
  met = present and header.version_bytes == version
else
  return redis.error_reply('BADARG condition')
end
if not met then return {'UNMET', present and decimal(previous) or '0'} end

local tick = next_tick(previous)
local expires_at = ttl_ms > 0 and now_ms + ttl_ms or 0
local packed = pack_entry(ENTRY_HAS_VALUE, tick, now_ms, expires_at, fields, value)
if expires_at > 0 then
  redis.call('SET', entry, packed, 'PXAT', decimal(expires_at))
else
  redis.call('SET', entry, packed)
end
return {'STORED', decimal(tick)}
