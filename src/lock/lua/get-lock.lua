#!lua flags=no-writes
--[[
  get-lock: tell who holds a resource.

  KEYS[1] lock  hash  <ns>:lock:{<resource>}

  ARGV none

  Returns
    {fence, then for each live holder: owner, fencing_token, acquired_at_ms, expires_at_ms, ttl_ms}
      numbers are decimal strings; fence '0' where none is known

  Atomicity: one look.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/holders.lua"
local lock = KEYS[1]

local fence, holders = read_lock(lock)
local reply = {decimal(fence)}
for _, holder in ipairs(holders) do
  append_holder(reply, holder.record)
end
return reply
