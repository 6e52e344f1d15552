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
  Retry:     safe.    Clock: Redis's own expiry.
]]
--- @include "lib/entry.lua"
local key = KEYS[1]

if not key_is_visible(key) then return {-2} end
return {redis.call('PTTL', key)}
