#!lua flags=no-writes
--[[
  get-ttl: tell how long a key still lives, whatever it holds.

  KEYS[1] key  any  <ns>:cache:{<key>}

  ARGV none

  Returns
    {-2}     it holds nothing
    {-1}     it does not expire
    {ttlMs}  milliseconds left, 0 in the last one

  Atomicity: one look.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/entry.lua"
local key = KEYS[1]

local header, wrong_type = read_entry(key)
if wrong_type then return {redis.call('PTTL', key)} end
if not (header and header.visible) then return {-2} end
if header.expires_at == 0 then return {-1} end
return {header.expires_at - now_ms}
