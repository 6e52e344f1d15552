#!lua
--[[
  set: write an entry, optionally under a condition and a guard.

  KEYS[1] entry  string  <ns>:cache:{<key>}

  ARGV[1] value      bytes    any
  ARGV[2] ttlMs      integer  0..31536000000; 0 = no expiry
  ARGV[3] condition  word     always | absent | present | version
  ARGV[4] version    bytes    8, big-endian, for the condition version; otherwise empty
  ARGV[5] freshMs    integer  0..31536000000; 0 = fresh to the end
  ARGV[6] tags       bytes    8 bytes seq and the tags as the entry holds them; empty = none
  ARGV[7] guard      bytes    22, see lib/fence.lua; empty = none

  Returns
    {'STORED', version}       written; version is an integer
    {'UNMET', version}        not written; the version of the entry that is there, 0 where there is none
    {'FENCED', token}         not written: this token of the guard's resource, a decimal string, was accepted before
    {'TOO_MANY_GUARDS', '0'}  not written: 4 other resources guard the key

  Errors:    WRONGTYPE where the key holds a counter or a collection.
  Atomicity: condition, guard and write are one step.
  Retry:     writes again; safe under the condition version.    Clock: Redis TIME.
  A lease on the key is void afterwards; the highest fencing tokens accepted stay.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/entry.lua"
--- @include "lib/fence.lua"
--- @include "lib/lease.lua"
--- @include "lib/store-entry.lua"
local entry = KEYS[1]
local value, ttl_ms, condition, version = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local fresh_ms, tags, guard = tonumber(ARGV[5]), ARGV[6], ARGV[7]
if not ttl_ms or ttl_ms < 0 then return redis.error_reply('BADARG ttlMs') end
if not fresh_ms or fresh_ms < 0 then return redis.error_reply('BADARG freshMs') end

local header, wrong_type = read_entry(entry)
if wrong_type then return wrong_type end

local previous, present, fields = 0, false, {}
if header then
  previous = header.version
  present = header.visible
  fields[FIELD_FENCE] = live_fence(header.fields[FIELD_FENCE])
end

if guard ~= '' then
  local fence, refusal = raise_fence(fields[FIELD_FENCE], guard)
  if refusal then return refusal end
  fields[FIELD_FENCE] = fence
end

local met
if condition == 'always' then
  met = true
elseif condition == 'absent' then
  met = not present
elseif condition == 'present' then
  met = present
elseif condition == 'version' then
  met = present and has_version(header, version)
else
  return redis.error_reply('BADARG condition')
end
if not met then return {'UNMET', present and previous or 0} end

if fresh_ms > 0 then fields[FIELD_FRESH_UNTIL] = struct.pack('>I6', now_ms + fresh_ms) end
if tags ~= '' then
  fields[FIELD_SEQ] = string.sub(tags, 1, 8)
  fields[FIELD_TAGS] = string.sub(tags, 9)
end
local tick = next_tick(previous)
local expires_at = ttl_ms > 0 and now_ms + ttl_ms or 0
store_entry(entry, ENTRY_HAS_VALUE, tick, now_ms, expires_at, fields, value)
return {'STORED', tick}
