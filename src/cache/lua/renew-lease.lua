#!lua flags=allow-oom
--[[
  renew-lease: go on loading for longer.

  KEYS[1] entry  string  <ns>:cache:{<key>}

  ARGV[1] token    bytes    16, of the lease
  ARGV[2] leaseMs  integer  1..31536000000, from now

  Returns
    {1}  done; a lease that had run out and was taken by nobody runs again
    {0}  the lease is lost

  Errors:    WRONGTYPE where the key holds a counter or a collection.
  Atomicity: look and change are one step.
  Retry:     safe; counts from the retry.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/entry.lua"
--- @include "lib/fence.lua"
--- @include "lib/lease.lua"
--- @include "lib/store-entry.lua"
local entry = KEYS[1]
local token, lease_ms = ARGV[1], tonumber(ARGV[2])
if not lease_ms or lease_ms < 1 then return redis.error_reply('BADARG leaseMs') end

local header, wrong_type = read_entry(entry)
if wrong_type then return wrong_type end
local lease = header and header.fields[FIELD_LEASE]
if not holds_lease(lease, token) then return {0} end

replace_lease(entry, header, pack_lease(token, lease_granted_at(lease), now_ms + lease_ms))
return {1}
