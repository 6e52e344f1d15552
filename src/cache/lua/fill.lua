#!lua
--[[
  fill: store what the holder of a lease loaded.

  KEYS[1] entry  string  <ns>:cache:{<key>}

  ARGV[1] token    bytes    16, of the lease
  ARGV[2] result   word     value | absent | unmodified
  ARGV[3] value    bytes    any, for the result value; otherwise empty
  ARGV[4] ttlMs    integer  0..31536000000; 0 = no expiry
  ARGV[5] freshMs  integer  0..31536000000; 0 = fresh to the end
  ARGV[6] tags     bytes    8 bytes seq and the tags as the entry holds them; empty = none
  ARGV[7] guard    bytes    22, see lib/fence.lua; empty = none

  Returns
    {'FILLED', version}       stored; version is a decimal string
    {'LEASE_LOST', '0'}       not stored: a write, a Delete or another lease came in between
    {'FENCED', token}         not stored: this token of the guard's resource, a decimal string, was accepted before
    {'TOO_MANY_GUARDS', '0'}  not stored: 4 other resources guard the key

  Errors:    WRONGTYPE where the key holds a counter or a collection.
  Atomicity: the lease is checked, used up and the entry written in one step.
  Retry:     a second try finds the lease used up.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/entry.lua"
--- @include "lib/fence.lua"
--- @include "lib/lease.lua"
--- @include "lib/store-entry.lua"
local entry = KEYS[1]
local token, result, value, ttl_ms, fresh_ms = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local tags, guard = ARGV[6], ARGV[7]
if not ttl_ms or ttl_ms < 0 then return redis.error_reply('BADARG ttlMs') end
if not fresh_ms or fresh_ms < 0 then return redis.error_reply('BADARG freshMs') end

local header, wrong_type = read_entry(entry)
if wrong_type then return wrong_type end
local lease = header and header.fields[FIELD_LEASE]
if not holds_lease(lease, token) then return {'LEASE_LOST', '0'} end

local flags = ENTRY_HAS_VALUE
if result == 'absent' then
  flags = ENTRY_ABSENT
elseif result == 'unmodified' then
  -- the value ran out while the source said that it is still right
  if not (header.visible or header.absent) then return {'LEASE_LOST', '0'} end
  flags = header.flags
  value = redis.call('GETRANGE', entry, header.value_at, -1)
elseif result ~= 'value' then
  return redis.error_reply('BADARG result')
end

local fields = {}
fields[FIELD_FENCE] = live_fence(header.fields[FIELD_FENCE])
if guard ~= '' then
  local fence, refusal = raise_fence(fields[FIELD_FENCE], guard)
  if refusal then return refusal end
  fields[FIELD_FENCE] = fence
end
if fresh_ms > 0 then fields[FIELD_FRESH_UNTIL] = struct.pack('>I6', now_ms + fresh_ms) end
if tags ~= '' then
  fields[FIELD_SEQ] = string.sub(tags, 1, 8)
  fields[FIELD_TAGS] = string.sub(tags, 9)
end
fields[FIELD_LOAD_MS] = struct.pack('>I4', math.min(math.max(now_ms - lease_granted_at(lease), 0), 4294967295))

local tick = next_tick(header.version)
local expires_at = ttl_ms > 0 and now_ms + ttl_ms or 0
store_entry(entry, flags, tick, now_ms, expires_at, fields, value)
return {'FILLED', decimal(tick)}
