#!lua flags=allow-oom
--[[
  delete: remove whatever a key holds.

  KEYS[1] key  any  <ns>:cache:{<key>}

  ARGV[1] guard  bytes  22, see lib/fence.lua; empty = none

  Returns
    {'DELETED', 1}            it held something
    {'DELETED', 0}            it held nothing; a lease on it is void now
    {'FENCED', token}         nothing done: this token of the guard's resource, a decimal string, was accepted before
    {'TOO_MANY_GUARDS', '0'}  nothing done: 4 other resources guard the key

  Errors:    WRONGTYPE under a guard where the key holds a counter or a collection: they have no fence here.
  Atomicity: guard, look and removal are one step.
  Retry:     safe.    Clock: Redis TIME.
  The highest fencing tokens accepted stay behind, as a header without a value, for as long as they are kept.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/entry.lua"
--- @include "lib/fence.lua"
--- @include "lib/lease.lua"
--- @include "lib/store-entry.lua"
local key = KEYS[1]
local guard = ARGV[1]

local header, wrong_type = read_entry(key)
if wrong_type then
  if guard ~= '' then return wrong_type end
  return {'DELETED', redis.call('UNLINK', key)}
end

local previous, visible, fields = 0, false, {}
if header then
  previous = header.version
  visible = header.visible
  fields[FIELD_FENCE] = live_fence(header.fields[FIELD_FENCE])
end
if guard ~= '' then
  local fence, refusal = raise_fence(fields[FIELD_FENCE], guard)
  if refusal then return refusal end
  fields[FIELD_FENCE] = fence
end
if header or fields[FIELD_FENCE] then store_header(key, next_tick(previous), fields) end
return {'DELETED', visible and 1 or 0}
