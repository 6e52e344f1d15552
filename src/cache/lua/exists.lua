#!lua flags=no-writes
--[[
  exists: tell whether a key holds something for readers.

  KEYS[1] key  any  <ns>:cache:{<key>}

  ARGV none

  Returns
    {1}  it does
    {0}  it does not, or holds only a lease or a fence

  Atomicity: one look.
  Retry:     safe.    Clock: Redis TIME.
]]
--- @include "../../redis/lua/clock.lua"
--- @include "lib/entry.lua"
local key = KEYS[1]

local header, wrong_type = read_entry(key)
-- another kind of thing is something
return {(wrong_type or (header and header.visible)) and 1 or 0}
